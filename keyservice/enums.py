"""The words that KeyService stores. Their values are in the database: change one only with a migration."""

from enum import StrEnum


class Environment(StrEnum):
    """Real money, or an exchange's test net."""

    LIVE = "live"
    SANDBOX = "sandbox"


class BridgeState(StrEnum):
    """How far the bridge has been made to match a key."""

    PENDING = "pending"
    CONFIGURED = "configured"
    FAILED = "failed"
    REMOVING = "removing"
    REMOVED = "removed"


class BridgeReason(StrEnum):
    """Why the bridge does not match a key."""

    BRIDGE_TIMEOUT = "bridge_timeout"
    BRIDGE_UNAVAILABLE = "bridge_unavailable"
    CREDENTIALS_REJECTED = "credentials_rejected"
    CREDENTIALS_INCOMPLETE = "credentials_incomplete"
    EXCHANGE_UNSUPPORTED = "exchange_unsupported"
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"
    RATE_LIMITED = "rate_limited"
    KEY_UNREADABLE = "key_unreadable"
    BRIDGE_ERROR = "bridge_error"


class Permission(StrEnum):
    """Whether an exchange says that a key may do something."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
