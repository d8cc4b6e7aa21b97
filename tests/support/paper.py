"""The paper exchange with a clock that a test turns, so that no price moves between two looks at it."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from bridgeservice.enums import OrderSide, OrderType
from bridgeservice.exchanges.exchange import Environment, Exchange, Owner
from bridgeservice.exchanges.paper import PaperExchange, paper_provider
from bridgeservice.exchanges.paper_options import PaperOptions
from bridgeservice.exchanges.paper_orders import OrderRequest
from bridgeservice.exchanges.paper_session import PaperSession
from servicekit.credentials import Credentials
from servicekit.database.engine import Database

NOON = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


@dataclass
class FixedClock:
    """Stands still until it is told to go on."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **by: float) -> None:
        self.now += timedelta(**by)


def new_owner() -> Owner:
    """One that nobody was before, so that tests can share a database."""
    return Owner(f"client_{uuid4()}", "paper")


def make(
    options: PaperOptions, database: Database | None, clock: FixedClock, *others: tuple[str, Exchange]
) -> PaperExchange:
    """The exchange as the bridge has it, where these are the others."""

    provider = paper_provider(options, database, lambda name: nullcontext(dict(others)[name]), clock=clock)
    exchange = provider.open(Environment.LIVE)
    assert isinstance(exchange, PaperExchange)
    return exchange


@dataclass
class Paper:
    """The exchange, its clock, and one connector of it."""

    database: Database | None
    options: PaperOptions = field(default_factory=PaperOptions)
    clock: FixedClock = field(default_factory=FixedClock)
    owner: Owner = field(default_factory=new_owner)

    def __post_init__(self) -> None:
        self.exchange = make(self.options, self.database, self.clock)
        self.session = self.of(self.owner)

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
