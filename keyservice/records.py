"""What use cases speak of: clients and keys as the database has them, without a secret, sealed or not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from keyservice import warnings
from keyservice.enums import BridgeReason, BridgeState, Environment, Permission

ANYBODY: Final = "anonymous"
"""How the audit calls a caller who did not have to say who he is."""
_ACCOUNT: Final = "client_"


def account_name_of(client_id: UUID) -> str:
    """A client's account on the bridge. Made of the id: names collide and change, ids do not."""
    return f"{_ACCOUNT}{client_id}"


def client_of(account_name: str) -> UUID:
    """Whose account it is."""
    return UUID(account_name.removeprefix(_ACCOUNT))


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a use case runs, and how its audit event says so."""

    name: str
    request_id: str = ""
    clients: frozenset[UUID] | None = None
    """The clients that it may see; None means all."""

    @property
    def limited(self) -> bool:
        """Whether there are clients that it may not see."""
        return self.clients is not None

    @property
    def share(self) -> str | None:
        """By what its share of what many use is told from that of others; None for one who is limited by nothing."""
        return None if self.name == ANYBODY else self.name

    def may_see(self, client_id: UUID) -> bool:
        """Whether this client is one of its own, if there is such a client."""
        return self.clients is None or client_id in self.clients


@dataclass(frozen=True, slots=True)
class Client:
    """The owner of keys."""

    id: UUID
    name: str
    external_id: str | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @property
    def account_name(self) -> str:
        """Its account on the bridge."""
        return account_name_of(self.id)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """All that may be known of a key."""

    id: UUID
    client_id: UUID
    exchange: str
    label: str
    connector_name: str
    environment: Environment
    key_hint: str
    disabled: bool
    revision: int
    secret_version: int
    can_read: Permission | None
    can_trade: Permission | None
    can_withdraw: Permission | None
    verified_at: datetime | None
    bridge_state: BridgeState
    bridge_reason: BridgeReason | None
    attempt_count: int
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    configured_at: datetime | None
    erased_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @property
    def configured(self) -> bool:
        return self.bridge_state is BridgeState.CONFIGURED

    @property
    def wanted(self) -> bool:
        """Whether the bridge should hold it."""
        return self.deleted_at is None and not self.disabled

    @property
    def waits_for_bridge(self) -> bool:
        """Whether the bridge is still to be told of its present revision."""
        return self.bridge_state in (BridgeState.PENDING, BridgeState.REMOVING)

    @property
    def unanswered(self) -> bool:
        """Whether it is on its way to the bridge, or about to be, and nothing has come of that yet."""
        return self.waits_for_bridge and self.bridge_reason is None

    @property
    def warning(self) -> str:
        """What went wrong on its way to the bridge, or has not happened yet; empty when there is nothing."""
        retry_at = self.next_attempt_at
        match self.bridge_state:
            case BridgeState.CONFIGURED | BridgeState.REMOVED:
                return ""
            case BridgeState.REMOVING:
                return (
                    warnings.not_removed(self.bridge_reason, retry_at=retry_at) if self.bridge_reason else ""
                )
            case BridgeState.PENDING if self.bridge_reason is None:
                return warnings.UNDER_WAY if self.attempt_count else warnings.NOT_ASKED
        return warnings.not_configured(self.bridge_reason or BridgeReason.BRIDGE_ERROR, retry_at=retry_at)

    @property
    def why_not_configured(self) -> str:
        """The same for an answer to a change of the key: also where it is not meant to be on the bridge."""
        if self.configured:
            return ""
        if self.erased_at is not None:
            return "The key is deleted and its credentials were erased; to use it again, add it anew."
        if self.deleted_at is not None:
            return (
                "The key is deleted, so the Trading Bridge is not to hold it; UndeleteApiKey brings it back."
            )
        if self.disabled:
            return "The key is disabled, so the Trading Bridge is not to hold it; UpdateApiKey enables it."
        return self.warning


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the record of who did what."""

    id: UUID
    created_at: datetime
    principal: str
    action: str
    client_id: UUID | None
    api_key_id: UUID | None
    request_id: str
    outcome: str
