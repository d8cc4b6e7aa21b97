"""What an exchange is to the bridge: the interface that ccxt's exchanges, ``paper`` and plug-ins have in common.

An ``Exchange`` answers what needs no credentials; a ``Session`` is one connector in use. Every number is a decimal
string with the digits that the exchange gave, and an empty string where it gave none. Whatever goes wrong is raised
as an error of ``servicekit.errors``. A call ends when it is cancelled: the deadline is the caller's, who keeps it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Protocol
from uuid import UUID

from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Position, Reference, Refusal, Ticket
from servicekit.catalogue import Catalogue
from servicekit.credentials import Credentials

NOT_SUPPORTED: Final = "NOT_SUPPORTED"
"""The reason with which an exchange refuses what it does not offer at all, or not asked so."""


class Environment(Enum):
    """Live or test net."""

    LIVE = "LIVE"
    SANDBOX = "SANDBOX"


class Permission(Enum):
    """Whether credentials may do one thing, as far as the exchange tells."""

    YES = "YES"
    NO = "NO"
    UNKNOWN = "UNKNOWN"


class MarketType(Enum):
    """What is traded on a market."""

    OTHER = ""
    SPOT = "spot"
    SWAP = "swap"
    FUTURE = "future"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Permissions:
    """What credentials may do."""

    read: Permission
    trade: Permission
    withdraw: Permission


@dataclass(frozen=True, slots=True)
class Balance:
    """How much of one asset there is."""

    asset: str
    free: str
    used: str
    total: str


@dataclass(frozen=True, slots=True)
class Ticker:
    """What a market offers now. ``time`` is the exchange's, None where it gives none."""

    symbol: str
    bid: str = ""
    ask: str = ""
    last: str = ""
    volume: str = ""
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderBook:
    """Offers as (price, amount), the best first."""

    symbol: str
    bids: Sequence[tuple[str, str]]
    asks: Sequence[tuple[str, str]]
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Candle:
    """What a market did in the span that begins at ``time``."""

    time: datetime
    open: str
    high: str
    low: str
    close: str
    volume: str


@dataclass(frozen=True, slots=True)
class Market:
    """One market and what it accepts; empty where the exchange sets no bound."""

    symbol: str
    type: MarketType
    base: str
    quote: str
    settle: str = ""
    active: bool = True
    amount_step: str = ""
    price_step: str = ""
    min_amount: str = ""
    max_amount: str = ""
    min_price: str = ""
    max_price: str = ""
    min_cost: str = ""
    max_cost: str = ""
    contract_size: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose connector it is. What an exchange of our own keeps, it keeps under this."""

    account_name: str
    connector_name: str


class Session(Protocol):
    """One connector in use. Made when it is first used, closed when it has been idle."""

    async def balances(self) -> Sequence[Balance]:
        """What the account holds now, without assets of which it has nothing."""
        ...

    async def permissions(self) -> Permissions:
        """Prove the credentials with a private call, and say what they may do."""
        ...

    async def place(self, ticket: Ticket) -> ExchangeOrder | Refusal:
        """Send an order, once, and never again.

        Only a ``Refusal`` says that it is surely not placed; whatever is raised leaves that open.
        """
        ...

    async def cancel(self, order: Reference) -> None:
        """Ask for the end of an order. NotFound and FailedPrecondition (ORDER_NOT_OPEN) where there is none to end;
        what became of it is for ``order`` to tell.
        """
        ...

    async def order(self, order: Reference) -> ExchangeOrder | None:
        """One order as it is now; None when the exchange says that it knows none.

        Asked with a client order id only, it is FailedPrecondition (NOT_SUPPORTED) where the exchange can't be asked
        so, or where it may know none though there is one: then it can be found among the open ones and the trades.
        """
        ...

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeOrder]:
        """Those that wait, whoever made them: on one market, or on all spot markets at the least. FailedPrecondition
        (NOT_SUPPORTED) where the exchange wants a market named and none is.
        """
        ...

    async def trades(self, symbol: str | None, since: datetime, limit: int) -> Sequence[ExchangeTrade]:
        """The first fills at that time or later, the oldest first: on one market, or on all, as for open orders.

        Fewer than the limit say that there are no more up to now.
        """
        ...

    async def positions(self) -> Sequence[Position]:
        """What is open in derivatives, by symbol; nothing where the exchange has none."""
        ...

    async def cancel_all_after(self, pause: timedelta) -> None:
        """Have the exchange cancel all orders unless it hears this again before; zero ends that. FailedPrecondition
        (NOT_SUPPORTED) where it has no such switch.
        """
        ...

    async def close(self) -> None:
        """Forget the credentials. A call that is under way may end first."""
        ...


class Exchange(Protocol):
    """One exchange in one environment, shared by all of its connectors."""

    async def markets(self) -> Mapping[str, Market]:
        """All markets by symbol; loaded once, however many ask."""
        ...

    async def ticker(self, symbol: str) -> Ticker: ...

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        """The tickers of these markets, or of all when none is named; one that has none is left out."""
        ...

    async def order_book(self, symbol: str, depth: int) -> OrderBook: ...

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]: ...

    def client_order_id(self, order_id: UUID) -> str:
        """Our id in the form that this exchange takes; empty where it takes none."""
        ...

    def session(self, credentials: Credentials, owner: Owner) -> Session:
        """A session of its own for this connector. Cheap, and sends nothing."""
        ...

    async def close(self) -> None:
        """Close what is open. Sessions that are still there can no longer be used."""
        ...


class Exchanges(Protocol):
    """All exchanges that this bridge can talk to."""

    @property
    def catalogue(self) -> Catalogue:
        """What requests are checked against: the shipped catalogue, and the plug-ins that are installed."""
        ...

    async def capabilities(self, exchange_id: str) -> Sequence[str]:
        """What an exchange can do, as ccxt names it (``fetchBalance``, ``createOrder``), sorted."""
        ...

    async def get(self, exchange_id: str, environment: Environment) -> Exchange:
        """The exchange, made on first use. Refused before anything is sent: one that nobody serves
        (FailedPrecondition, EXCHANGE_UNSUPPORTED, with the nearest names) and a sandbox that does not exist.
        """
        ...

    async def close(self) -> None: ...
