"""Exchanges that answer from memory and fail as a test tells them to: the seam below the bridge's use cases."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
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
    Ticker,
)
from servicekit.catalogue import Catalogue
from servicekit.credentials import Credentials
from servicekit.errors import KeybridgeError
from tests.support.fake_orders import FakeBook, FakeTrading

READ_ONLY = Permissions(Permission.YES, Permission.NO, Permission.NO)


def spot(symbol: str, **changes: object) -> Market:
    """A spot market of that name."""
    base, quote = symbol.split("/")
    return Market(symbol, MarketType.SPOT, base, quote, **changes)  # type: ignore[arg-type]  # a test's changes


@dataclass(eq=False)
class FakeExchange:
    """One exchange in one environment. ``error`` is raised by whatever is asked, and ``gate`` holds it back."""

    balances: Sequence[Balance] = (Balance("BTC", "1.5", "0.50", "2.00"),)
    known_markets: dict[str, Market] = field(default_factory=lambda: {"BTC/USDT": spot("BTC/USDT")})
    known_tickers: dict[str, Ticker] = field(
        default_factory=lambda: {"BTC/USDT": Ticker("BTC/USDT", bid="99", ask="101", last="100")}
    )
    known_candles: Sequence[Candle] = ()
    book: OrderBook = field(default_factory=lambda: OrderBook("BTC/USDT", (), ()))
    granted: Permissions = READ_ONLY
    error: Exception | None = None
    gate: asyncio.Event | None = None
    asked: Counter[str] = field(default_factory=Counter)
    wanted: list[object] = field(default_factory=list)
    sessions: "list[FakeSession]" = field(default_factory=list)
    orders: FakeBook = field(default_factory=FakeBook)
    """On which all of its sessions place, as those of one account do."""

    async def markets(self) -> Mapping[str, Market]:
        return self.known_markets

    async def ticker(self, symbol: str) -> Ticker:
        await self.ask("ticker")
        return self.known_tickers[symbol]

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        await self.ask("tickers")
        self.wanted.append(list(symbols))
        wanted = set(symbols) or set(self.known_tickers)
        return {symbol: self.known_tickers[symbol] for symbol in wanted & set(self.known_tickers)}

    async def order_book(self, symbol: str, depth: int) -> OrderBook:
        await self.ask("order_book")
        self.wanted.append((symbol, depth))
        return self.book

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]:
        await self.ask("candles")
        self.wanted.append((symbol, timeframe, since, limit))
        if since is None:
            return self.known_candles[-limit:]
        return [candle for candle in self.known_candles if candle.time >= since][:limit]

    def client_order_id(self, order_id: UUID) -> str:
        return f"kb{order_id.hex}" if self.orders.takes_client_ids else ""

    def session(self, credentials: Credentials, owner: Owner) -> "FakeSession":
        self.sessions.append(FakeSession(self, credentials, owner))
        return self.sessions[-1]

    async def close(self) -> None: ...

    async def ask(self, what: str) -> None:
        """What every question does first."""
        self.asked[what] += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


@dataclass(eq=False)
class FakeSession(FakeTrading):
    """A session that remembers for whom it was made, and whether it was closed while somebody used it."""

    exchange: FakeExchange
    credentials: Credentials
    owner: Owner
    in_use: int = 0
    closed: bool = False
    closed_in_use: bool = False
    close_error: Exception | None = None

    def __post_init__(self) -> None:
        self.book = self.exchange.orders

    async def balances(self) -> Sequence[Balance]:
        self.in_use += 1
        try:
            await self.exchange.ask("balances")
        finally:
            self.in_use -= 1
        return self.exchange.balances

    async def permissions(self) -> Permissions:
        await self.exchange.ask("permissions")
        return self.exchange.granted

    async def close(self) -> None:
        self.closed, self.closed_in_use = True, bool(self.in_use)
        if self.close_error is not None:
            raise self.close_error


class FakeExchanges:
    """All of them, made when they are first asked for."""

    def __init__(self) -> None:
        self.catalogue = Catalogue.load()
        self.made: dict[tuple[str, Environment], FakeExchange] = {}
        self.loading: asyncio.Event | None = None
        self.error: KeybridgeError | None = None

    def __getitem__(self, exchange_id: str) -> FakeExchange:
        return self.made.setdefault((exchange_id, Environment.LIVE), FakeExchange())

    async def capabilities(self, exchange_id: str) -> Sequence[str]:
        if self.loading is not None:
            await self.loading.wait()
        return ["createOrder", "fetchBalance"] if exchange_id == "kraken" else ["fetchBalance"]

    async def get(self, exchange_id: str, environment: Environment) -> FakeExchange:
        if self.loading is not None:
            await self.loading.wait()
        if self.error is not None:
            raise self.error
        return self.made.setdefault((exchange_id, environment), FakeExchange())

    async def close(self) -> None: ...
