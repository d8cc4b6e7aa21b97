"""``paper``, an exchange of our own: everything works with it, with no network and no account anywhere."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final

from bridgeservice.exchanges.exchange import Candle, Environment, Exchange, Market, OrderBook, Owner, Ticker
from bridgeservice.exchanges.paper_options import PaperOptions
from bridgeservice.exchanges.paper_prices import Clock, Prices, RealPrices, SyntheticPrices
from bridgeservice.exchanges.paper_session import PaperSession, Terms
from bridgeservice.exchanges.plugins import Provider
from servicekit.credentials import Credentials
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition, Unavailable

CAPABILITIES: Final = (
    "cancelOrder",
    "createOrder",
    "fetchBalance",
    "fetchMarkets",
    "fetchMyTrades",
    "fetchOHLCV",
    "fetchOpenOrders",
    "fetchOrder",
    "fetchOrderBook",
    "fetchTicker",
    "fetchTickers",
)


def now() -> datetime:
    return datetime.now(UTC)


class PaperExchange:
    """All connectors' paper exchange. Market data need nothing; a session's calls need the database."""

    def __init__(
        self,
        options: PaperOptions,
        prices: Prices,
        database: Database | None,
        *,
        clock: Clock = now,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._options = options
        self._prices = prices
        self._database = database
        self._clock = clock
        self._pause = pause

    async def markets(self) -> Mapping[str, Market]:
        return await self._prices.markets()

    async def ticker(self, symbol: str) -> Ticker:
        await self._interfere()
        return await self._prices.ticker(symbol)

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        await self._interfere()
        return await self._prices.tickers(symbols)

    async def order_book(self, symbol: str, depth: int) -> OrderBook:
        await self._interfere()
        return await self._prices.order_book(symbol, depth)

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]:
        await self._interfere()
        return await self._prices.candles(symbol, timeframe, since, limit)

    def session(self, credentials: Credentials, owner: Owner) -> PaperSession:
        """Whatever the credentials are: what is there belongs to the owner."""
        del credentials
        terms = Terms(self._options.balances, self._options.fee_rate)
        return PaperSession(owner, self._prices, self._database, terms, self._clock, self._interfere)

    async def close(self) -> None:
        """Nothing is open: the database and a real exchange behind the prices are their owners' to close."""

    async def _interfere(self) -> None:
        """Be as slow and as unreliable as the options say."""
        if self._options.latency:
            await self._pause(self._options.latency.total_seconds())
        if random.random() < self._options.failure_rate:  # noqa: S311 - guards nothing
            raise Unavailable(
                "paper cannot be reached now, as it was told to pretend.",
                reason="EXCHANGE_UNAVAILABLE",
                metadata={"exchange": "paper"},
            )


def paper_provider(
    options: PaperOptions,
    database: Database | None,
    lend: Callable[[str], AbstractAsyncContextManager[Exchange]],
    *,
    clock: Clock = now,
) -> Provider:
    """What makes the exchange when it is first asked for. ``lend`` is asked for the one that it has its prices from."""
    prices: Prices = SyntheticPrices(options.seed, clock)
    if options.prices_from:
        prices = RealPrices(lambda: lend(options.prices_from), clock)

    def open_exchange(environment: Environment) -> PaperExchange:
        if environment is not Environment.LIVE:
            raise FailedPrecondition("paper has no sandbox: it is one.", reason="SANDBOX_UNSUPPORTED")
        return PaperExchange(options, prices, database, clock=clock)

    return Provider(open_exchange, CAPABILITIES)
