"""The paper exchange as a whole: money in is money out, and slowness and failure on demand."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from decimal import Decimal, localcontext
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bridgeservice.enums import OrderSide, OrderType, PaperOrderState
from bridgeservice.exchanges.exchange import Environment, Exchange, Session, Ticker
from bridgeservice.exchanges.paper import PaperExchange, paper_provider
from bridgeservice.exchanges.paper_options import STARTING_BALANCES, PaperOptions
from bridgeservice.exchanges.paper_orders import EXACT, OrderRequest, PaperOrder
from bridgeservice.exchanges.paper_prices import SyntheticPrices
from servicekit.credentials import Credentials
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.errors import FailedPrecondition, Unavailable
from tests.support.paper import FixedClock, Paper, make, new_owner

SYMBOLS = ("BTC/USDT", "ETH/USDT", "ETH/BTC", "SHARP/USDT")

steps = some.lists(
    some.tuples(
        some.sampled_from(SYMBOLS),
        some.sampled_from(OrderSide),
        some.sampled_from(OrderType),
        some.integers(1, 40),  # hundredths of what the account begins with
        some.integers(970, 1030),  # thousandths of the present price
        some.integers(0, 7200),  # seconds until the next one
        some.booleans(),  # whether the oldest order that waits is canceled then
    ),
    min_size=1,
    max_size=7,
)
Step = tuple[str, OrderSide, OrderType, int, int, int, bool]


@settings(max_examples=12, deadline=None)
@given(steps)
def test_what_orders_move_is_conserved_to_the_last_digit(
    shared_database_url: DatabaseUrl, steps: list[Step]
) -> None:
    asyncio.run(trade(shared_database_url, steps))


async def trade(url: DatabaseUrl, steps: list[Step]) -> None:
    database = Database(DatabaseOptions(url=url, pool_size=2))
    try:
        paper = Paper(database)
        session = paper.session
        ids: list[UUID] = []
        for symbol, side, kind, share, about, pause, cancels in steps:
            ticker = await paper.exchange.ticker(symbol)
            try:
                ids.append((await session.place(request(ticker, side, kind, share, about))).id)
            except FailedPrecondition as error:
                assert error.reason == "INSUFFICIENT_FUNDS"  # noqa: PT017 - or none at all
            paper.clock.go_on(seconds=pause)
            if cancels and (still_open := await session.open_orders()):
                await session.cancel(still_open[0].id)
        orders = [await session.order(order_id) for order_id in ids]
        assert await paper.holdings(session) == expected(orders)
    finally:
        await database.close()


def request(ticker: Ticker, side: OrderSide, kind: OrderType, share: int, about: int) -> OrderRequest:
    base = ticker.symbol.split("/")[0]
    amount = (STARTING_BALANCES[base] * share / 100).quantize(Decimal("0.0001"))
    last = Decimal(ticker.last)
    price = (last * about / 1000).quantize(last) if kind is OrderType.LIMIT else ""
    return OrderRequest(ticker.symbol, side, kind, str(amount), str(price))


def expected(orders: list[PaperOrder]) -> dict[str, tuple[Decimal, Decimal]]:
    """What the account has to have after these, counted in another way than the exchange does."""
    total, used = dict(STARTING_BALANCES), dict.fromkeys(STARTING_BALANCES, Decimal(0))
    with localcontext(EXACT):
        for order in orders:
            base, quote = order.symbol.split("/")
            sign = 1 if order.side is OrderSide.BUY else -1
            if order.fill is not None:
                assert order.state is PaperOrderState.FILLED
                total[base] += sign * order.amount
                total[quote] -= sign * order.amount * order.fill.price + order.fill.fee
            elif order.state is PaperOrderState.OPEN and order.side is OrderSide.SELL:
                used[base] += order.amount
            elif order.state is PaperOrderState.OPEN and order.price is not None:
                used[quote] += order.amount * order.price * Decimal("1.001")
        return {asset: (total[asset] - used[asset], used[asset]) for asset in total if total[asset]}


async def test_it_is_an_exchange_like_any_other(make_database: Callable[[], Database]) -> None:
    exchange: Exchange = make(PaperOptions(), make_database(), FixedClock())
    session: Session = exchange.session(Credentials(), new_owner())
    assert [each.asset for each in await session.balances()] == sorted(STARTING_BALANCES)
    await session.close()
    await exchange.close()


def no_other(name: str) -> AbstractAsyncContextManager[Exchange]:
    raise AssertionError(name)


def test_it_has_no_sandbox() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        paper_provider(PaperOptions(), None, no_other).open(Environment.SANDBOX)
    assert caught.value.reason == "SANDBOX_UNSUPPORTED"


async def test_it_has_a_real_exchanges_prices_when_asked() -> None:
    real = Paper(None, PaperOptions(seed=2)).exchange
    exchange = make(PaperOptions(prices_from="kraken"), None, FixedClock(), ("kraken", real))
    assert await exchange.tickers([]) == await real.tickers([])
    assert await exchange.tickers([]) != await Paper(None).exchange.tickers([])


async def test_it_fails_as_often_as_it_is_told() -> None:
    exchange = Paper(None, PaperOptions(failure_rate=1)).exchange
    session = exchange.session(Credentials(), new_owner())
    for ask in (
        lambda: exchange.ticker("BTC/USDT"),
        lambda: exchange.tickers([]),
        lambda: exchange.order_book("BTC/USDT", 1),
        lambda: exchange.candles("BTC/USDT", "1m", None, 1),
        session.balances,
        session.permissions,
        session.open_orders,
    ):
        with pytest.raises(Unavailable) as caught:
            await ask()
        assert caught.value.reason == "EXCHANGE_UNAVAILABLE"
    assert await exchange.markets()


async def test_half_of_the_calls_fail_at_a_rate_of_a_half() -> None:
    exchange = Paper(None, PaperOptions(failure_rate=0.5)).exchange
    ended = await asyncio.gather(*(exchange.ticker("BTC/USDT") for _ in range(400)), return_exceptions=True)
    assert 100 < sum(isinstance(each, Unavailable) for each in ended) < 300


async def test_each_call_takes_as_long_as_it_is_told() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    options, clock = PaperOptions(latency=timedelta(milliseconds=250)), FixedClock()
    exchange = PaperExchange(options, SyntheticPrices(1, clock), None, clock=clock, pause=pause)
    await exchange.ticker("BTC/USDT")
    await exchange.order_book("BTC/USDT", 1)
    assert pauses == [0.25, 0.25]
