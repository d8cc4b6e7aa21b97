"""Market data of an exchange, which needs no account: the live world's, each question once for all who ask it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from bridgeservice import symbols
from bridgeservice.exchange_calls import ExchangeCalls, late
from bridgeservice.exchanges.exchange import Candle, Environment, Exchange, Market, OrderBook, Ticker
from bridgeservice.records import Page, page_of_names
from bridgeservice.single_flight import SingleFlight
from bridgeservice.timeframes import Timeframe

T = TypeVar("T")

# Behind the beginning of one candle, and not behind that of the next.
_A_MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class CandleWish:
    """Which candles of a market. ``after`` is the time of the last one of the page before."""

    symbol: str
    timeframe: Timeframe
    start: datetime | None
    after: datetime | None
    size: int


@dataclass(frozen=True, slots=True)
class CandlePage:
    """A page of candles, the oldest first, and the time behind which the next one begins."""

    rows: Sequence[Candle]
    next: datetime | None


class MarketData:
    """Asks exchanges on behalf of nobody in particular. ``within`` is in seconds everywhere."""

    def __init__(self, calls: ExchangeCalls, flights: SingleFlight) -> None:
        self._calls = calls
        self._flights = flights

    async def ticker(self, exchange_id: str, symbol: str, *, within: float | None) -> Ticker:
        async def ask(exchange: Exchange) -> Ticker:
            await _require(exchange, exchange_id, "symbol", [symbol])
            asked_at = datetime.now(UTC)
            return _dated(await exchange.ticker(symbol), asked_at)

        return await self._asked(exchange_id, ("ticker", symbol), ask, within)

    async def tickers(
        self, exchange_id: str, named: Sequence[str], *, after: str | None, size: int, within: float | None
    ) -> Page[Ticker]:
        """Tickers by symbol, of these markets or of all."""
        names = Page(sorted(set(named)), None)
        if named:
            names = page_of_names(names.rows, after, size)
        wanted = tuple(names.rows)

        async def ask(exchange: Exchange) -> Mapping[str, Ticker]:
            await _require(exchange, exchange_id, "symbols", named)
            asked_at = datetime.now(UTC)
            # Not tickers(()), which means all: a page behind the end asks for nothing.
            found = await exchange.tickers(wanted) if wanted or not named else {}
            return {symbol: _dated(ticker, asked_at) for symbol, ticker in found.items()}

        question = ("tickers", wanted, frozenset(named))
        found = await self._asked(exchange_id, question, ask, within)
        if not named:
            names = page_of_names(sorted(found), after, size)
        return Page([found[symbol] for symbol in names.rows if symbol in found], names.next)

    async def order_book(
        self, exchange_id: str, symbol: str, *, depth: int, within: float | None
    ) -> OrderBook:
        async def ask(exchange: Exchange) -> OrderBook:
            await _require(exchange, exchange_id, "symbol", [symbol])
            asked_at = datetime.now(UTC)
            book = await exchange.order_book(symbol, depth)
            # Not every exchange lets one say how much of the book is wanted.
            return replace(book, bids=book.bids[:depth], asks=book.asks[:depth], time=book.time or asked_at)

        return await self._asked(exchange_id, ("book", symbol, depth), ask, within)

    async def candles(self, exchange_id: str, wish: CandleWish, *, within: float | None) -> CandlePage:
        """The newest candles, or those from a start on, page by page up to now."""
        since = wish.after + _A_MOMENT if wish.after else wish.start

        async def ask(exchange: Exchange) -> Sequence[Candle]:
            await _require(exchange, exchange_id, "symbol", [wish.symbol])
            return await exchange.candles(wish.symbol, wish.timeframe.text, since, wish.size)

        question = ("candles", wish.symbol, wish.timeframe.text, since, wish.size)
        answer = await self._asked(exchange_id, question, ask, within)
        found = sorted(answer, key=lambda candle: candle.time)
        if since is None:
            return CandlePage(found[-wish.size :], None)
        rows = [candle for candle in found if candle.time >= since][: wish.size]
        # An exchange may give fewer than asked for, so that only the present is the end.
        ended = not rows or wish.timeframe.covers_now(rows[-1].time)
        return CandlePage(rows, None if ended else rows[-1].time)

    async def markets(
        self, exchange_id: str, named: Sequence[str], *, after: str | None, size: int, within: float | None
    ) -> Page[Market]:
        """Markets by symbol, these or all."""

        async def ask(exchange: Exchange) -> Mapping[str, Market]:
            return await exchange.markets()

        found = await self._asked(exchange_id, "markets", ask, within)
        await _refuse_unknown("symbols", named, found, exchange_id)
        names = page_of_names(sorted(set(named) or found), after, size)
        return Page([found[symbol] for symbol in names.rows], names.next)

    async def _asked(
        self,
        exchange_id: str,
        question: Hashable,
        ask: Callable[[Exchange], Coroutine[Any, Any, T]],
        within: float | None,
    ) -> T:
        async def fly() -> T:
            async with self._calls.to(exchange_id, Environment.LIVE) as exchange:
                return await ask(exchange)

        try:
            return await self._flights.do((exchange_id, question), fly, within=within)
        except TimeoutError:
            raise late(exchange_id, within) from None


async def _require(exchange: Exchange, exchange_id: str, field: str, named: Sequence[str]) -> None:
    if named:
        await _refuse_unknown(field, named, await exchange.markets(), exchange_id)


async def _refuse_unknown(
    field: str, named: Sequence[str], markets: Mapping[str, Market], exchange_id: str
) -> None:
    if any(symbol not in markets for symbol in named):
        # Looking for what was meant takes a while on an exchange with thousands of markets.
        await asyncio.to_thread(symbols.require, field, named, markets, exchange_id)


def _dated(ticker: Ticker, asked_at: datetime) -> Ticker:
    return ticker if ticker.time else replace(ticker, time=asked_at)
