"""An exchange that ccxt knows: what it answers to anyone, and the boundary of every call to it."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import methodcaller
from typing import Any, TypeVar
from uuid import UUID

import ccxt.async_support as ccxt

from bridgeservice.exchanges import client_ids, convert, guarded, templates
from bridgeservice.exchanges.ccxt_session import STUMBLED, CcxtSession
from bridgeservice.exchanges.convert import understood
from bridgeservice.exchanges.errors import exchange_errors
from bridgeservice.exchanges.exchange import (
    NOT_SUPPORTED,
    Candle,
    Environment,
    Market,
    OrderBook,
    Owner,
    Ticker,
)
from bridgeservice.exchanges.guarded import SERVER_FAILED, Attempt
from bridgeservice.exchanges.http import largest_answer, open_session
from bridgeservice.exchanges.instruments import Instruments
from bridgeservice.exchanges.limits import Throttle
from bridgeservice.exchanges.markets import Loaded, Markets
from bridgeservice.exchanges.options import Options
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition, InvalidArgument, KeybridgeError, Unavailable, Violation

T = TypeVar("T")

# Exchanges for which ccxt takes certain depths of an order book only; the next larger one is asked for.
_DEPTHS: Mapping[str, Sequence[int]] = {
    "htx": (5, 10, 20, 150),
    "kucoin": (20, 100),
    "kucoinfutures": (20, 100),
}

# What an exchange says of one market, which tells nothing of the others.
_OF_ONE_MARKET = STUMBLED | {"CONTRACT_UNAVAILABLE", "MARKET_CLOSED", "UNKNOWN_SYMBOL"}


class CcxtExchange:
    """One exchange in one environment: its HTTP session, throttle, breaker and markets."""

    def __init__(
        self,
        exchange_id: str,
        environment: Environment,
        options: Options,
        instruments: Instruments | None = None,
    ) -> None:
        self.id = exchange_id
        self._options = options
        bare = templates.make(exchange_id, environment, options)
        bare.session = self._http = open_session(options)  # after what may fail, so that it is always closed
        self._throttle: Throttle = bare.line.throttle
        self.timeframes: Mapping[str, object] = bare.timeframes or {}
        self.has: Mapping[str, object] = bare.has
        self._class = type(bare)
        self._markets = Markets(bare, environment, options, instruments)
        self._public: Any = None  # ccxt ships no types
        self._closed = False

    async def markets(self) -> Mapping[str, Market]:
        return (await self.loaded()).markets

    async def ticker(self, symbol: str) -> Ticker:
        loaded = await self._with(symbol)
        with understood(self.id):
            return convert.ticker(await self._ask(loaded, lambda public: public.fetch_ticker(symbol)))

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        loaded = await self._with(*symbols)
        if not self.has.get("fetchTickers"):
            return await self._tickers_one_by_one(symbols)
        found: dict[str, Ticker] = {}
        for group in _groups(symbols, loaded.markets):
            answers = await self._ask(loaded, methodcaller("fetch_tickers", group))
            with understood(self.id):
                found |= {symbol: convert.ticker(answer) for symbol, answer in answers.items()}
        return {symbol: found[symbol] for symbol in symbols if symbol in found} if symbols else found

    async def _tickers_one_by_one(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        if not symbols:
            raise FailedPrecondition(
                f"{self.id} has no call for the tickers of all markets: name the symbols.",
                reason=NOT_SUPPORTED,
                metadata={"exchange": self.id},
            )
        found: dict[str, Ticker] = {}
        refused: KeybridgeError | None = None
        for symbol in dict.fromkeys(symbols):
            try:
                found[symbol] = await self.ticker(symbol)
            except KeybridgeError as error:
                if error.reason not in _OF_ONE_MARKET:
                    raise
                refused = error
        if refused is not None and not found:
            raise refused
        return found

    async def order_book(self, symbol: str, depth: int) -> OrderBook:
        loaded = await self._with(symbol)
        answer = await self._ask(loaded, methodcaller("fetch_order_book", symbol, self._depth(depth)))
        with understood(self.id):
            return convert.order_book(symbol, answer, depth)

    def _depth(self, wanted: int) -> int:
        offered = _DEPTHS.get(self.id, (wanted,))
        return next((depth for depth in offered if depth >= wanted), offered[-1])

    async def candles(
        self, symbol: str, timeframe: str, since: datetime | None, limit: int
    ) -> Sequence[Candle]:
        loaded = await self._with(symbol)
        if timeframe not in self.timeframes:
            described = (
                f"one of {', '.join(self.timeframes)}" if self.timeframes else "none: it has no candles"
            )
            raise InvalidArgument(
                f"{self.id} has no candles of this span.",
                violations=[Violation("timeframe", f"must be {described}")],
                reason="UNKNOWN_TIMEFRAME",
                metadata={"exchange": self.id},
            )
        start = None if since is None else round(since.timestamp() * 1000)
        answer = await self._ask(loaded, lambda public: public.fetch_ohlcv(symbol, timeframe, start, limit))
        with understood(self.id):
            return [convert.candle(each) for each in answer]

    def client_order_id(self, order_id: UUID) -> str:
        taken = client_ids.of(self._class)
        return "" if taken is None else taken.form(order_id)

    def session(self, credentials: Credentials, owner: Owner) -> CcxtSession:
        del owner  # the exchange knows its customer by the credentials
        return CcxtSession(self, credentials)

    async def close(self) -> None:
        self._closed = True
        await self._markets.close()
        await self._http.close()

    async def loaded(self) -> Loaded:
        """The template with the markets, for a session."""
        if self._closed:
            raise Unavailable(
                f"The connection to {self.id} is closed.",
                reason="EXCHANGE_UNAVAILABLE",
                metadata={"exchange": self.id},
            )
        return await self._markets.get()

    async def market(self, symbol: str) -> Market:
        """The market of this symbol, which there has to be."""
        return (await self._with(symbol)).markets[symbol]

    @contextmanager
    def boundary(self) -> Iterator[None]:
        """Only our errors leave it."""
        with (
            exchange_errors(self.id, retry_after=lambda _: self._throttle.cooling()),
            understood(self.id),
        ):
            yield

    async def call(
        self, connector: Any, ask: Callable[[Any], Awaitable[T]], attempt: Attempt | None = None
    ) -> T:
        """Make a call into ccxt, in the boundary; a clock that differs is set once. The attempt is told what became
        of the requests.
        """
        largest_answer.set(self._options.largest_answer)
        attempt = attempt or Attempt()
        guarded.attempt.set(attempt)
        with self.boundary():
            try:
                return await ask(connector)
            except ccxt.InvalidNonce:
                # The request was refused for its time, before anything else of it was looked at: so nothing was done,
                # and it can be sent again, an order too. A server that fails says nothing for certain.
                if attempt.status >= SERVER_FAILED:
                    raise
                if self.has.get("fetchTime"):
                    await connector.load_time_difference()
                return await ask(connector)

    async def _ask(self, loaded: Loaded, ask: Callable[[Any], Awaitable[T]]) -> T:
        """A call that needs no credentials, by the connector that all of them share."""
        if self._public is None:
            self._public = templates.connect(loaded.template)
        elif self._public.markets is not loaded.template.markets:
            templates.share_markets(loaded.template, self._public)
        return await self.call(self._public, ask)

    async def _with(self, *symbols: str) -> Loaded:
        """The markets, if these symbols are among them."""
        loaded = await self.loaded()
        unknown = [symbol for symbol in symbols if symbol not in loaded.markets]
        if unknown:
            raise InvalidArgument(
                f"{self.id} does not know this symbol.",
                violations=[_unknown(symbol, loaded.markets) for symbol in unknown],
                reason="UNKNOWN_SYMBOL",
                metadata={"exchange": self.id},
            )
        return loaded


def _groups(symbols: Sequence[str], markets: Mapping[str, Market]) -> list[list[str] | None]:
    """The symbols as exchanges can be asked for them: one kind of market at a time, or all."""
    if not symbols:
        return [None]
    kinds: defaultdict[object, list[str]] = defaultdict(list)
    for symbol in dict.fromkeys(symbols):
        market = markets[symbol]
        kinds[market.type, market.settle and market.settle == market.base].append(symbol)
    return list(kinds.values())


def _unknown(symbol: str, markets: Mapping[str, Market]) -> Violation:
    likely = symbol.upper().replace("-", "/").replace("_", "/")
    hint = f"; did you mean {likely}?" if likely in markets else "; ListMarkets names those that there are"
    return Violation("symbol", f"is not one of this exchange's markets{hint}")


def capabilities(exchange_id: str) -> Sequence[str]:
    """What ccxt's class for this exchange can do, sorted."""
    return sorted(name for name, able in getattr(ccxt, exchange_id)().has.items() if able is True)
