"""The paper exchange with a clock that a test turns, so that no price moves between two looks at it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bridgeservice.enums import OrderSide, OrderType
from bridgeservice.exchanges.exchange import Environment, Owner
from bridgeservice.exchanges.paper import PaperOptions, paper_factory
from bridgeservice.exchanges.paper_orders import OrderRequest
from bridgeservice.exchanges.paper_session import PaperSession
from servicekit.credentials import Credentials
from servicekit.database.engine import Database

OWNER = Owner("client_1", "paper")
NOON = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


@dataclass
class FixedClock:
    """Stands still until it is told to go on."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Paper:
    """The exchange, its clock, and one connector of it."""

    database: Database | None
    options: PaperOptions = field(default_factory=PaperOptions)
    clock: FixedClock = field(default_factory=FixedClock)

    def __post_init__(self) -> None:
        self.exchange = paper_factory(self.options, self.database, clock=self.clock)(Environment.LIVE)
        self.session = self.of(OWNER)

    def of(self, owner: Owner) -> PaperSession:
        return self.exchange.session(Credentials(), owner)

    async def holdings(self, session: PaperSession | None = None) -> dict[str, tuple[Decimal, Decimal]]:
        """What is free and what is used, by asset."""
        found = await (session or self.session).balances()
        return {each.asset: (Decimal(each.free), Decimal(each.used)) for each in found}

    async def offers(self, symbol: str) -> tuple[Decimal, Decimal]:
        """What is bid and what is asked."""
        ticker = await self.exchange.ticker(symbol)
        return Decimal(ticker.bid), Decimal(ticker.ask)


def market(side: OrderSide, amount: str, symbol: str = "BTC/USDT", **more: str) -> OrderRequest:
    return OrderRequest(symbol, side, OrderType.MARKET, amount, **more)


def limit(side: OrderSide, amount: str, price: object, symbol: str = "BTC/USDT", **more: str) -> OrderRequest:
    return OrderRequest(symbol, side, OrderType.LIMIT, amount, str(price), **more)
