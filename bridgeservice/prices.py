"""What assets are worth in another one, by the tickers of the exchange that holds them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from time import monotonic
from typing import TypeAlias

from bridgeservice.exchange_calls import ExchangeCalls, late
from bridgeservice.exchanges.exchange import Environment, Market, MarketType, Ticker
from bridgeservice.single_flight import SingleFlight

# Enough that no product of two prices or amounts is rounded.
_DIGITS = 100
_QUOTIENT_DIGITS = 28
# What lies beyond is no amount of anything, and would take megabytes to write.
_LARGEST_EXPONENT = 40

Place: TypeAlias = tuple[str, Environment]


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of an asset costs in the quote asset, or with ``inverse`` one of the quote in the asset."""

    price: Decimal
    inverse: bool = False

    def value(self, amount: str) -> str | None:
        """What so much is worth, as a decimal string; None where the amount is no number."""
        parsed = decimal(amount)
        if parsed is None:
            return None
        with localcontext(prec=_QUOTIENT_DIGITS if self.inverse else _DIGITS):
            worth = parsed / self.price if self.inverse else parsed * self.price
            return format(worth.normalize(), "f")


@dataclass(frozen=True, slots=True)
class _Known:
    price: Decimal | None
    clock: float


class Prices:
    """Prices by exchange, kept for callers who allow some age."""

    def __init__(self, calls: ExchangeCalls, flights: SingleFlight) -> None:
        self._calls = calls
        self._flights = flights
        self._known: dict[Place, dict[str, _Known]] = {}

    async def of(
        self, place: Place, assets: Collection[str], quote: str, *, max_age: float, within: float | None
    ) -> dict[str, Price]:
        """The price of each asset that has one: by its market with the quote asset, or by the inverse one."""
        wanted = frozenset(asset for asset in assets if asset != quote)
        oldest = monotonic() - max_age
        known = self._known.get(place, {})
        symbols = [symbol for asset in wanted for symbol in (f"{asset}/{quote}", f"{quote}/{asset}")]
        fresh = {symbol: known[symbol].price for symbol in symbols if symbol in known}
        if not all(symbol in known and known[symbol].clock >= oldest for symbol in symbols):
            key = ("prices", place, wanted, quote)
            try:
                fresh = dict(
                    await self._flights.do(key, lambda: self._ask(place, frozenset(symbols)), within=within)
                )
            except TimeoutError:
                raise late(place[0], within) from None
        return {asset: price for asset in wanted if (price := _chosen(fresh, asset, quote)) is not None}

    def forget(self, max_age: float) -> None:
        """Drop what is older: nobody who wants a price now would still take it."""
        oldest = monotonic() - max_age
        for known in self._known.values():
            for symbol in [symbol for symbol, each in known.items() if each.clock < oldest]:
                del known[symbol]

    async def _ask(self, place: Place, symbols: frozenset[str]) -> Mapping[str, Decimal | None]:
        async with self._calls.to(*place) as exchange:
            markets = await exchange.markets()
            clock = monotonic()
            traded = sorted(symbol for symbol in symbols if _can_price(markets.get(symbol)))
            tickers = await exchange.tickers(traded) if traded else {}
        prices = {symbol: _price(tickers.get(symbol)) for symbol in symbols}
        self._known.setdefault(place, {}).update(
            (symbol, _Known(price, clock)) for symbol, price in prices.items()
        )
        return prices


def decimal(text: str) -> Decimal | None:
    """The number that an exchange wrote; None for what is none, or none that can be."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        return None
    return number


def _can_price(market: Market | None) -> bool:
    return market is not None and market.type is MarketType.SPOT and market.active


def _price(ticker: Ticker | None) -> Decimal | None:
    """The last trade's price, or the middle between bid and ask where nothing was traded."""
    if ticker is None:
        return None
    last, bid, ask = (_positive(each) for each in (ticker.last, ticker.bid, ticker.ask))
    if last is None and bid is not None and ask is not None:
        return (bid + ask) / 2
    return last


def _positive(text: str) -> Decimal | None:
    number = decimal(text)
    return number if number is not None and number > 0 else None


def _chosen(prices: Mapping[str, Decimal | None], asset: str, quote: str) -> Price | None:
    if (direct := prices.get(f"{asset}/{quote}")) is not None:
        return Price(direct)
    if (inverse := prices.get(f"{quote}/{asset}")) is not None:
        return Price(inverse, inverse=True)
    return None
