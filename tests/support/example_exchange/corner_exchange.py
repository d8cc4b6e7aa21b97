"""The corner exchange: one market, one price, and everybody holds one coin."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from bridgeservice.exchanges.exchange import (
    Balance,
    Candle,
    Environment,
    Market,
    MarketType,
    OrderBook,
    Owner,
    Permission,
    Permissions,
    Session,
    Ticker,
)
from bridgeservice.exchanges.orders import (
    ExchangeOrder,
    ExchangeTrade,
    Position,
    Reference,
    Refusal,
    Ticket,
)
from bridgeservice.exchanges.plugins import Plugin, Provider
from servicekit.catalogue import Exchange as Entry
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition, NotFound

SYMBOL = "COIN/USDT"


class CornerSession:
    """Everybody holds one coin."""

    async def balances(self) -> Sequence[Balance]:
        return [Balance("COIN", free="1", used="0", total="1")]

    async def permissions(self) -> Permissions:
        return Permissions(read=Permission.YES, trade=Permission.UNKNOWN, withdraw=Permission.UNKNOWN)

    async def place(self, ticket: Ticket) -> ExchangeOrder | Refusal:
        del ticket
        return Refusal(FailedPrecondition("corner takes no orders.", reason="NOT_SUPPORTED"))

    async def cancel(self, order: Reference) -> None:
        del order
        raise NotFound("corner has no such order.", reason="ORDER_NOT_FOUND")

    async def order(self, order: Reference) -> ExchangeOrder | None:
        del order
        return None

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeOrder]:
        del symbol
        return ()

    async def trades(self, symbol: str | None, since: datetime, limit: int) -> Sequence[ExchangeTrade]:
        del symbol, since, limit
        return ()

    async def positions(self) -> Sequence[Position]:
        return ()

    async def cancel_all_after(self, pause: timedelta) -> None:
        del pause
        raise FailedPrecondition("corner has no such switch.", reason="NOT_SUPPORTED")

    async def close(self) -> None:
        """There is nothing to forget."""


class CornerExchange:
    """It has nothing to connect to, so it never fails."""

    async def markets(self) -> Mapping[str, Market]:
        return {SYMBOL: Market(SYMBOL, MarketType.SPOT, base="COIN", quote="USDT")}

    async def ticker(self, symbol: str) -> Ticker:
        return Ticker(symbol, bid="0.99", ask="1.01", last="1.00")

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        return {SYMBOL: await self.ticker(SYMBOL)} if not symbols or SYMBOL in symbols else {}

    async def order_book(self, symbol: str, depth: int) -> OrderBook:
        del depth
        return OrderBook(symbol, bids=[("0.99", "5")], asks=[("1.01", "5")])

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]:
        del symbol, timeframe, since, limit
        raise FailedPrecondition("corner keeps no candles.", reason="NOT_SUPPORTED")

    def client_order_id(self, order_id: UUID) -> str:
        del order_id
        return ""

    def session(self, credentials: Credentials, owner: Owner) -> Session:
        del credentials, owner
        return CornerSession()

    async def close(self) -> None:
        """There is nothing to close."""


def _open(environment: Environment) -> CornerExchange:
    del environment
    return CornerExchange()


PLUGIN = Plugin(
    exchange=Entry(
        id="corner", name="Corner", aliases=(), required_credentials=("api_key",), has_sandbox=False
    ),
    provider=Provider(open=_open, capabilities=("fetchBalance", "fetchTicker")),
)
