"""What is said to the bridge and heard from it, in KeyService's own words: no gRPC, no message of the contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyservice.enums import BridgeReason, Environment, Permission, ReadStatus
from keyservice.records import ApiKey, account_name_of

# Asking again changes nothing until somebody changes the key, or the bridge.
_PERMANENT = frozenset(
    {
        BridgeReason.CREDENTIALS_REJECTED,
        BridgeReason.CREDENTIALS_INCOMPLETE,
        BridgeReason.EXCHANGE_UNSUPPORTED,
        BridgeReason.KEY_UNREADABLE,
    }
)


@dataclass(frozen=True, slots=True)
class Connector:
    """Where a key lives on the bridge, and which version of it."""

    account_name: str
    connector_name: str
    exchange: str
    environment: Environment
    revision: int

    @classmethod
    def of(cls, key: ApiKey) -> "Connector":
        return cls(
            account_name_of(key.client_id), key.connector_name, key.exchange, key.environment, key.revision
        )


@dataclass(frozen=True, slots=True)
class Permissions:
    """What an exchange lets credentials do."""

    read: Permission
    trade: Permission
    withdraw: Permission


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call to the bridge ended, as far as a key is concerned."""

    reason: BridgeReason | None = None
    """Why not; None means that the bridge did what it was asked to."""
    instance_id: str = ""
    """The run of the bridge that acknowledged; empty where its answer does not say so, as for a removal."""
    retry_after: timedelta | None = None
    """When to come again, where somebody named a time."""
    stale: bool = False
    """The bridge knows a later revision, or this one with other content: a new one has to be drawn."""
    missing: bool = False
    """The bridge holds no connector of this name."""
    asked: bool = True
    """Whether the bridge was asked. What is not sent, as nobody was there a moment ago, hears what was heard then."""
    refused: bool = False
    """The bridge itself said no, and so has not done it."""
    permissions: Permissions | None = None
    code: str = "OK"
    """The name of the status code, for the log."""

    @property
    def ok(self) -> bool:
        return self.reason is None

    @property
    def perhaps_done(self) -> bool:
        """Whether the bridge may have done it, whatever was heard of that."""
        return self.ok or (self.asked and not self.refused)

    @property
    def permanent(self) -> bool:
        return self.reason in _PERMANENT


@dataclass(frozen=True, slots=True)
class Balance:
    """How much of one asset there is: decimal strings, empty where the exchange did not say."""

    asset: str
    free: str
    used: str
    total: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What one connector holds. Anything but OK means that the balances say nothing."""

    connector_name: str
    status: ReadStatus
    balances: tuple[Balance, ...] = ()
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What the asked connectors hold, one entry each."""

    holdings: Sequence[Holding]


@dataclass(frozen=True, slots=True)
class BridgeInfo:
    """Which run of the bridge answered, how soon, and how much it holds."""

    instance_id: str
    start_time: datetime
    version: str
    account_count: int
    connector_count: int
    latency: timedelta


@dataclass(frozen=True, slots=True)
class Held:
    """A connector that the bridge says it holds."""

    connector_name: str
    revision: int
    instance_id: str
