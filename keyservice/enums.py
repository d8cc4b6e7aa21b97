"""The words of KeyService. The values of all but ReadStatus are in the database: change one only with a migration."""

from enum import Enum, StrEnum


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


class ReadStatus(Enum):
    """How the reading of one key ended; the names are those of the contract."""

    OK = "OK"
    NOT_FOUND = "NOT_FOUND"
    CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
    RATE_LIMITED = "RATE_LIMITED"
    EXCHANGE_UNAVAILABLE = "EXCHANGE_UNAVAILABLE"
    EXCHANGE_UNSUPPORTED = "EXCHANGE_UNSUPPORTED"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    BRIDGE_TIMEOUT = "BRIDGE_TIMEOUT"
    BRIDGE_UNAVAILABLE = "BRIDGE_UNAVAILABLE"
