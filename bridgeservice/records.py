"""What use cases speak of: accounts and connectors as this run of the bridge holds them, and their readings."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.exchange import Balance, Environment, Permissions
from servicekit.credentials import Credentials

T = TypeVar("T")

Place: TypeAlias = tuple[str, str]
"""An account and a connector of it, by their names."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a connector held when its exchange was asked."""

    balances: Sequence[Balance]
    asked_at: datetime
    clock: float
    """The same on the monotonic clock, by which its age is told."""


@dataclass(slots=True, eq=False)
class Connector:
    """Credentials with a name: all that a connector is while it is at rest.

    What was pushed never changes: a higher revision is another object, so that a call that is under way goes
    on with the one that it began with.
    """

    account_name: str
    name: str
    exchange: str
    environment: Environment
    credentials: Credentials
    revision: int
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When this run of the bridge first held a connector of this name."""
    confirmed_at: float = 0.0
    """When KeyService last said that it is still wanted, on the monotonic clock."""
    retired: bool = False
    """No longer in the registry: whoever still uses it is the last one."""
    permissions: Permissions | None = None
    """What the exchange said of the credentials, if it was asked."""
    reading: Reading | None = None
    """The last one, until the connector goes back to rest."""

    @property
    def place(self) -> Place:
        return self.account_name, self.name


@dataclass(slots=True, eq=False)
class Account:
    """The connectors of one client, by name."""

    name: str
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    connectors: dict[str, Connector] = field(default_factory=dict)
    confirmed_at: float = 0.0
    """When KeyService last spoke of it, on the monotonic clock."""

    def sorted(self) -> list[Connector]:
        """The connectors in the order of their names."""
        return [self.connectors[name] for name in sorted(self.connectors)]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list that is sorted by names, and the name behind which the next one begins."""

    rows: Sequence[T]
    next: str | None


def page_of_names(names: Sequence[str], after: str | None, size: int) -> Page[str]:
    """A page of names that are sorted."""
    start = 0 if after is None else bisect_right(names, after)
    rows = names[start : start + size]
    return Page(rows, rows[-1] if start + size < len(names) else None)


class ReadStatus(Enum):
    """How the reading of one connector ended."""

    OK = "OK"
    NOT_FOUND = "NOT_FOUND"
    CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
    RATE_LIMITED = "RATE_LIMITED"
    EXCHANGE_UNAVAILABLE = "EXCHANGE_UNAVAILABLE"
    EXCHANGE_UNSUPPORTED = "EXCHANGE_UNSUPPORTED"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Holding:
    """One connector of a portfolio: a reading, or else why there is none."""

    connector_name: str
    exchange: str
    status: ReadStatus
    error: str = ""
    reading: Reading | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    """What each asset is worth, by asset; one that has no price is not in it."""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What an account holds, as far as it is known."""

    holdings: Sequence[Holding]
    unpriced_assets: Sequence[str]

    @property
    def complete(self) -> bool:
        return all(holding.status is ReadStatus.OK for holding in self.holdings)


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill, as it is remembered."""

    id: UUID
    exchange_trade_id: str
    order_id: UUID | None
    """None when the order is from before the connector was first used."""
    symbol: str
    side: OrderSide
    amount: Decimal
    price: Decimal
    cost: Decimal
    fees: Mapping[str, str]
    """Amounts by asset."""
    traded_at: datetime


@dataclass(frozen=True, slots=True)
class TradeFilter:
    """Which trades of an account; empty for all."""

    connector_name: str = ""
    symbol: str = ""
    since: datetime | None = None
