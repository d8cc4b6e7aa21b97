"""An exchange that ccxt knows, and a connector to it in use."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from operator import methodcaller
from typing import Any, TypeVar

import ccxt.async_support as ccxt

from bridgeservice.exchanges import convert, permissions, templates
from bridgeservice.exchanges.convert import understood
from bridgeservice.exchanges.errors import exchange_errors
from bridgeservice.exchanges.exchange import (
    Balance,
    Candle,
    Environment,
    Market,
    OrderBook,
    Owner,
    Permissions,
    Ticker,
)
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

# What ccxt learns about an account while it loads markets with its credentials. Ours are loaded without any, so a
# connector asks at its first call: without it the balances of most accounts on kucoin would seem empty.
_FIRST_CALL: Mapping[str, str] = {"kucoin": "load_migration_status", "kucoinfutures": "load_migration_status"}

# What errors are called that say that a request or its answer is not as it should be.
_STUMBLED = frozenset({"BAD_REQUEST", "EXCHANGE_BAD_RESPONSE", "EXCHANGE_ERROR"})

# What an exchange says of one market, which tells nothing of the others.
_OF_ONE_MARKET = _STUMBLED | {"CONTRACT_UNAVAILABLE", "MARKET_CLOSED", "UNKNOWN_SYMBOL"}


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
                reason="NOT_SUPPORTED",
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

    def session(self, credentials: Credentials, owner: Owner) -> "CcxtSession":
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

    async def call(self, connector: Any, ask: Callable[[Any], Awaitable[T]]) -> T:
        """Make a call into ccxt: only our errors leave it, and a clock that differs is set once."""
        largest_answer.set(self._options.largest_answer)
        with (
            exchange_errors(self.id, retry_after=lambda _: self._throttle.cooling()),
            understood(self.id),
        ):
            try:
                return await ask(connector)
            except ccxt.InvalidNonce:
                # The request was refused for its time, so nothing was done and it can be sent again.
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


class CcxtSession:
    """One connector in use: its ccxt object is made at the first call."""

    def __init__(self, exchange: CcxtExchange, credentials: Credentials) -> None:
        self._exchange = exchange
        self._credentials: Credentials | None = credentials
        self._connector: Any = None  # ccxt ships no types
        self._is_prepared = False

    async def balances(self) -> Sequence[Balance]:
        answer = await self._ask(methodcaller("fetch_balance"))
        with understood(self._exchange.id):
            return convert.balances(self._exchange.id, answer)

    async def permissions(self) -> Permissions:
        return await self._ask(permissions.ask)

    async def close(self) -> None:
        self._credentials = None
        self._connector = None

    async def _ask(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        connector = await self._in_use()
        if (first := _FIRST_CALL.get(self._exchange.id)) and not self._is_prepared:
            await self._exchange.call(connector, methodcaller(first))
            self._is_prepared = True
        asked = connector.requests
        try:
            return await self._exchange.call(connector, ask)
        except (Unavailable, InvalidArgument, FailedPrecondition) as error:
            if connector.requests > asked or error.reason not in _STUMBLED:
                raise
            # Nothing was sent, so that what ccxt stumbled over can only be the credentials.
            raise _malformed(self._exchange.id) from None

    async def _in_use(self) -> Any:
        loaded = await self._exchange.loaded()
        if self._credentials is None:
            raise Unavailable("This connector was closed.", reason="CONNECTOR_CLOSED")
        if self._connector is None:
            _refuse_unsendable(self._exchange.id, self._credentials)
            self._connector = templates.connect(loaded.template, self._credentials)
        elif self._connector.markets is not loaded.template.markets:
            templates.share_markets(loaded.template, self._connector)
        return self._connector


def _refuse_unsendable(exchange_id: str, credentials: Credentials) -> None:
    # These two travel in headers, which can hold neither.
    for value in (credentials.api_key, credentials.passphrase):
        if not value.isascii() or not (value.isprintable() or not value):
            raise _malformed(exchange_id)


def _malformed(exchange_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"These credentials are not of the form that {exchange_id} gives out; nothing was sent to it.",
        reason="CREDENTIALS_REJECTED",
        metadata={"exchange": exchange_id},
    )


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
