"""Where the paper exchange has its prices from: a feed of its own, or a real exchange's tickers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.exchange import Candle, Exchange, Market, MarketType, OrderBook, Ticker
from bridgeservice.exchanges.paper_feed import Feed
from bridgeservice.exchanges.paper_markets import PAPER_MARKETS, PaperMarket
from servicekit.errors import InvalidArgument

Clock = Callable[[], datetime]

TIMEFRAMES: Final[Mapping[str, int]] = {
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "1h": 3600,
    "4h": 14_400,
    "1d": 86_400,
}
"""In seconds; the feed answers for any span, these are the ones that most exchanges have."""

_A_DAY = 86_400
# A ten thousandth of the price to either side of the last trade, and between two levels of the book.
_SPREAD = 10_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A limit order that waits for its price since it was placed."""

    id: UUID
    symbol: str
    side: OrderSide
    limit: Decimal
    since: datetime

    def is_reached_by(self, bid: Decimal, ask: Decimal) -> bool:
        return ask <= self.limit if self.side is OrderSide.BUY else bid >= self.limit


class Prices(Protocol):
    """What the paper exchange asks of a source of prices; most of it is what an exchange answers to anyone."""

    async def markets(self) -> Mapping[str, Market]: ...

    async def ticker(self, symbol: str) -> Ticker: ...

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]: ...

    async def order_book(self, symbol: str, depth: int) -> OrderBook: ...

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]: ...

    async def reached(self, waiting: Sequence[Waiting]) -> Mapping[UUID, datetime]:
        """Those of the orders whose limit was reached since they were placed, with the moment when it was."""
        ...


class RealPrices:
    """The prices of a real exchange's spot markets, which is lent anew for each question."""

    def __init__(self, lend: Callable[[], AbstractAsyncContextManager[Exchange]], clock: Clock) -> None:
        self._lend = lend
        self._clock = clock

    async def markets(self) -> Mapping[str, Market]:
        async with self._lend() as exchange:
            found = await exchange.markets()
        return {symbol: market for symbol, market in found.items() if market.type is MarketType.SPOT}

    async def ticker(self, symbol: str) -> Ticker:
        async with self._lend() as exchange:
            return await exchange.ticker(symbol)

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        async with self._lend() as exchange:
            return await exchange.tickers(symbols)

    async def order_book(self, symbol: str, depth: int) -> OrderBook:
        async with self._lend() as exchange:
            return await exchange.order_book(symbol, depth)

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]:
        async with self._lend() as exchange:
            return await exchange.candles(symbol, timeframe, since, limit)

    async def reached(self, waiting: Sequence[Waiting]) -> Mapping[UUID, datetime]:
        """By the present tickers: what the price did while nobody looked is not asked for."""
        found = await self.tickers(sorted({order.symbol for order in waiting}))
        now = self._clock()
        offers = {
            symbol: (Decimal(ticker.bid), Decimal(ticker.ask))
            for symbol, ticker in found.items()
            if ticker.bid and ticker.ask
        }
        return {
            order.id: now
            for order in waiting
            if order.symbol in offers and order.is_reached_by(*offers[order.symbol])
        }


class SyntheticPrices:
    """Prices that are made from a seed and the time."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._clock = clock
        self._books = {symbol: _Book(seed, market) for symbol, market in PAPER_MARKETS.items()}
        self._markets = {symbol: market.as_market() for symbol, market in PAPER_MARKETS.items()}

    async def markets(self) -> Mapping[str, Market]:
        return self._markets

    async def ticker(self, symbol: str) -> Ticker:
        return self._book(symbol).ticker(self._now())

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        now = self._now()
        return {symbol: self._book(symbol).ticker(now) for symbol in symbols or self._books}

    async def order_book(self, symbol: str, depth: int) -> OrderBook:
        return self._book(symbol).offers(self._now(), depth)

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]:
        """The newest, or those from ``since`` on. The last one is not over and holds what has happened so far."""
        seconds = TIMEFRAMES.get(timeframe)
        if seconds is None:
            raise InvalidArgument(
                f"paper has no candles of {timeframe!r}, but of {', '.join(TIMEFRAMES)}.",
                reason="UNKNOWN_TIMEFRAME",
            )
        newest = self._now() // seconds
        first = newest - limit + 1 if since is None else -(-since.timestamp() // seconds)
        book = self._book(symbol)
        return [
            book.candle(index * seconds, min((index + 1) * seconds, self._now() + 1))
            for index in range(int(first), min(int(first) + limit, newest + 1))
        ]

    async def reached(self, waiting: Sequence[Waiting]) -> Mapping[UUID, datetime]:
        """By all that the price did since: the feed can tell, whoever looked."""
        end = self._now() + 1
        found = {
            order.id: self._books[order.symbol].first_reached(order, end)
            for order in waiting
            if order.symbol in self._books
        }
        return {order_id: moment for order_id, moment in found.items() if moment is not None}

    def _book(self, symbol: str) -> "_Book":
        if symbol in self._books:
            return self._books[symbol]
        meant = symbol.upper().replace("-", "/").replace("_", "/")
        hint = f": write {meant}" if meant in self._books else f", but {', '.join(self._books)}"
        raise InvalidArgument(f"paper does not trade {symbol!r}{hint}.", reason="UNKNOWN_SYMBOL")

    def _now(self) -> int:
        return int(self._clock().timestamp() // 1)


class _Book:
    """One synthetic market: the feed's whole numbers, as prices and amounts."""

    def __init__(self, seed: int, market: PaperMarket) -> None:
        self._market = market
        self._daily_volume = int(market.daily_volume / market.amount_step)
        reference = int(market.reference / market.price_step)
        self._feed = Feed(f"{seed} {market.symbol}", reference, self._daily_volume)

    def ticker(self, now: int) -> Ticker:
        price = self._feed.price(now)
        return Ticker(
            symbol=self._market.symbol,
            bid=self._price(price - _spread(price)),
            ask=self._price(price + _spread(price)),
            last=self._price(price),
            volume=self._amount(self._feed.summary(now + 1 - _A_DAY, now + 1).volume),
            time=_time(now),
        )

    def offers(self, now: int, depth: int) -> OrderBook:
        price = self._feed.price(now)
        usual = self._daily_volume // 20_000

        def side(name: str, direction: int) -> list[tuple[str, str]]:
            prices = (price + direction * _spread(price) * (level + 1) for level in range(depth))
            return [
                (self._price(at), self._amount(1 + usual + self._feed.noise(f"{name} {now}", level, usual)))
                for level, at in enumerate(prices)
                if at > 0
            ]

        return OrderBook(self._market.symbol, bids=side("bid", -1), asks=side("ask", 1), time=_time(now))

    def candle(self, start: int, end: int) -> Candle:
        span = self._feed.summary(start, end)
        return Candle(
            time=_time(start),
            open=self._price(span.open),
            high=self._price(span.high),
            low=self._price(span.low),
            close=self._price(span.close),
            volume=self._amount(span.volume),
        )

    def first_reached(self, order: Waiting, end: int) -> datetime | None:
        step = self._market.price_step

        def reaches(price: int) -> bool:
            return order.is_reached_by((price - _spread(price)) * step, (price + _spread(price)) * step)

        second = self._feed.first(int(order.since.timestamp() // 1), end, reaches)
        return None if second is None else _time(second)

    def _price(self, steps: int) -> str:
        return format(steps * self._market.price_step, "f")

    def _amount(self, steps: int) -> str:
        return format(steps * self._market.amount_step, "f")


def _spread(price: int) -> int:
    return max(1, price // _SPREAD)


def _time(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
