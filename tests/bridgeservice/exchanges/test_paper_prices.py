"""The two sources of the paper exchange's prices: its own feed, and a real exchange."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import uuid4

import pytest

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.exchange import Market, MarketType, Ticker
from bridgeservice.exchanges.paper import PaperExchange
from bridgeservice.exchanges.paper_markets import PAPER_MARKETS
from bridgeservice.exchanges.paper_options import PaperOptions
from bridgeservice.exchanges.paper_prices import TIMEFRAMES, RealPrices, SyntheticPrices, Waiting
from servicekit.errors import InvalidArgument, Unavailable
from tests.support.paper import NOON, FixedClock

BUY, SELL = OrderSide.BUY, OrderSide.SELL


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def prices(clock: FixedClock) -> SyntheticPrices:
    return SyntheticPrices(1, clock)


class RealExchange(PaperExchange):
    """Stands for an exchange elsewhere, and offers what a test says."""

    def __init__(self, clock: FixedClock, offers: Mapping[str, Ticker]) -> None:
        super().__init__(PaperOptions(), SyntheticPrices(2, clock), None, clock=clock)
        self.offers = offers

    async def markets(self) -> Mapping[str, Market]:
        swap = Market("BTC/USDT:USDT", MarketType.SWAP, "BTC", "USDT", "USDT")
        return {**await super().markets(), swap.symbol: swap}

    async def tickers(self, symbols: Sequence[str]) -> Mapping[str, Ticker]:
        return {symbol: self.offers[symbol] for symbol in symbols if symbol in self.offers}


def on_step(text: str, step: str) -> bool:
    return Decimal(text) % Decimal(step) == 0 and Decimal(text) > 0


async def test_tickers_and_books_are_on_the_markets_steps_and_agree(prices: SyntheticPrices) -> None:
    tickers = await prices.tickers([])
    markets = await prices.markets()
    assert tickers.keys() == markets.keys() == PAPER_MARKETS.keys()
    assert {"SHARP/USDT", "BTC/USDT", "ETH/BTC"} <= tickers.keys()
    for symbol, ticker in tickers.items():
        market = markets[symbol]
        assert ticker == await prices.ticker(symbol)
        assert Decimal(ticker.bid) < Decimal(ticker.last) < Decimal(ticker.ask)
        assert ticker.time == NOON
        book = await prices.order_book(symbol, 5)
        assert (book.bids[0][0], book.asks[0][0]) == (ticker.bid, ticker.ask)
        for side, best_first in ((book.bids, True), (book.asks, False)):
            assert len(side) == 5
            levels = [Decimal(price) for price, _ in side]
            assert levels == sorted(set(levels), reverse=best_first)
            assert all(on_step(price, market.price_step) for price, _ in side)
            assert all(on_step(amount, market.amount_step) for _, amount in side)


async def test_only_the_symbols_asked_for_are_told(prices: SyntheticPrices) -> None:
    assert list(await prices.tickers(["SOL/USDT"])) == ["SOL/USDT"]


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
async def test_candles_say_what_tickers_did_and_nothing_of_the_future(
    prices: SyntheticPrices, clock: FixedClock, timeframe: str
) -> None:
    length = timedelta(seconds=TIMEFRAMES[timeframe])
    candles = await prices.candles("BTC/USDT", timeframe, None, 3)
    steps = [after.time - before.time for before, after in pairwise(candles)]
    assert steps == [length] * 2
    newest = candles[-1]
    assert newest.time <= NOON < newest.time + length
    assert newest.close == (await prices.ticker("BTC/USDT")).last
    for candle in candles:
        for share in range(10):
            clock.now = candle.time + share * length / 10
            if clock.now <= NOON:
                last = (await prices.ticker("BTC/USDT")).last
                assert Decimal(candle.low) <= Decimal(last) <= Decimal(candle.high)
                assert share or last == candle.open
    clock.now = NOON + 2 * length
    later = await prices.candles("BTC/USDT", timeframe, candles[0].time, 2)
    assert later == candles[:2]


async def test_candles_begin_at_the_given_time_or_later(prices: SyntheticPrices) -> None:
    since = NOON - timedelta(minutes=3)
    candles = await prices.candles("BTC/USDT", "1m", since, 100)
    assert [each.time for each in candles] == [
        NOON.replace(second=0) - timedelta(minutes=minutes) for minutes in (2, 1, 0)
    ]
    assert await prices.candles("BTC/USDT", "1m", NOON + timedelta(days=1), 100) == []


@pytest.mark.parametrize(
    ("symbol", "timeframe", "reason", "names"),
    [
        ("SHARP-USDT", "1m", "UNKNOWN_SYMBOL", "write SHARP/USDT"),
        ("NO/USDT", "1m", "UNKNOWN_SYMBOL", "SHARP/USDT"),
        ("SHARP/USDT", "2m", "UNKNOWN_TIMEFRAME", "1m, 5m, 15m, 1h, 4h, 1d"),
    ],
)
async def test_what_there_is_not_is_refused_with_what_there_is(
    prices: SyntheticPrices, symbol: str, timeframe: str, reason: str, names: str
) -> None:
    with pytest.raises(InvalidArgument, match=names) as caught:
        await prices.candles(symbol, timeframe, None, 1)
    assert caught.value.reason == reason


def waiting(side: OrderSide, limit: str, since: datetime, symbol: str = "BTC/USDT") -> Waiting:
    return Waiting(uuid4(), symbol, side, Decimal(limit), since)


async def test_a_limit_is_reached_at_the_second_when_the_offer_met_it(
    prices: SyntheticPrices, clock: FixedClock
) -> None:
    begun = clock.now
    clock.go_on(days=2)
    (day,) = await prices.candles("BTC/USDT", "1d", NOON, 1)
    orders = [waiting(BUY, day.close, begun), waiting(SELL, day.close, begun)]
    never = [waiting(BUY, "1", begun), waiting(SELL, "1000000", begun), waiting(BUY, "1", begun, "GONE/USDT")]
    reached = await prices.reached([*orders, *never])
    assert reached.keys() == {order.id for order in orders}
    for order in orders:
        clock.now = reached[order.id]
        ticker = await prices.ticker(order.symbol)
        assert order.is_reached_by(Decimal(ticker.bid), Decimal(ticker.ask))
        assert begun <= clock.now
        if clock.now > begun:
            clock.go_on(seconds=-1)
            ticker = await prices.ticker(order.symbol)
            assert not order.is_reached_by(Decimal(ticker.bid), Decimal(ticker.ask))


async def test_real_prices_are_the_real_exchanges_which_is_lent_for_each_question(clock: FixedClock) -> None:
    real = RealExchange(clock, {"BTC/USDT": Ticker("BTC/USDT", bid="99", ask="101")})
    lent: list[str] = []

    @asynccontextmanager
    async def lend() -> AsyncIterator[RealExchange]:
        lent.append("lent")
        yield real
        lent[-1] = "given back"

    prices = RealPrices(lend, clock)
    assert lent == []
    assert (await prices.markets()).keys() == PAPER_MARKETS.keys()
    assert await prices.tickers(["BTC/USDT"]) == real.offers
    assert await prices.ticker("ETH/USDT") == await real.ticker("ETH/USDT")
    assert await prices.order_book("ETH/USDT", 3) == await real.order_book("ETH/USDT", 3)
    assert await prices.candles("ETH/USDT", "1m", None, 3) == await real.candles("ETH/USDT", "1m", None, 3)
    assert lent == ["given back"] * 5


async def test_with_real_prices_a_limit_is_reached_when_the_present_offer_meets_it(clock: FixedClock) -> None:
    real = RealExchange(
        clock,
        {"BTC/USDT": Ticker("BTC/USDT", bid="99", ask="101"), "ETH/USDT": Ticker("ETH/USDT", last="10")},
    )
    met = [waiting(BUY, "101", NOON), waiting(SELL, "99", NOON)]
    unmet = [waiting(BUY, "100", NOON), waiting(SELL, "100", NOON), waiting(BUY, "20", NOON, "ETH/USDT")]
    clock.go_on(hours=1)
    reached = await RealPrices(lambda: nullcontext(real), clock).reached(
        [*met, *unmet, waiting(BUY, "1", NOON, "GONE/USDT")]
    )
    assert reached == {order.id: clock.now for order in met}


async def test_a_real_exchange_that_can_not_be_had_is_its_own_error(clock: FixedClock) -> None:
    def lend() -> AbstractAsyncContextManager[RealExchange]:
        raise Unavailable("It is away.")

    with pytest.raises(Unavailable, match="It is away"):
        await RealPrices(lend, clock).ticker("BTC/USDT")
