"""Reading trades from exchanges: from where it was left off, within bounds, in whatever way an exchange tells them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from bridgeservice import history_reading
from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.exchange import Balance, MarketType
from bridgeservice.exchanges.orders import ExchangeTrade
from bridgeservice.history_reading import PAGE
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition, InvalidArgument, KeybridgeError
from tests.support.comparing import Comparing, compared
from tests.support.fake_exchanges import FakeExchange, spot
from tests.support.fake_orders import Fault
from tests.support.orders import limit
from tests.support.trading import state

WANTS_A_MARKET = (
    FailedPrecondition("Name a market.", reason="NOT_SUPPORTED"),
    InvalidArgument("What is that?", reason="BAD_REQUEST"),
)
by_market = pytest.mark.parametrize("wants", WANTS_A_MARKET, ids=lambda error: error.reason)


@pytest.fixture
async def comparing(database: Database) -> AsyncIterator[Comparing]:
    async with compared(database) as comparing:
        comparing.loop.use(comparing.trader.account)
        yield comparing


def exchange(comparing: Comparing) -> FakeExchange:
    return comparing.trader.bridge.exchanges[comparing.trader.connector]


def seventy_markets(fake: FakeExchange) -> list[str]:
    """The exchange has no others; what is traded on them for USDT."""
    assets = [f"A{n:03}" for n in range(70)]
    fake.known_markets = {f"{each}/USDT": spot(f"{each}/USDT") for each in assets}
    return assets


def old(name: str, symbol: str, time: datetime, order_id: str = "old") -> ExchangeTrade:
    return ExchangeTrade(name, order_id, symbol, OrderSide.BUY, "1", "9", "9", time)


async def test_history_is_read_back_to_its_bound_page_by_page(comparing: Comparing) -> None:
    book, now = comparing.trader.book, datetime.now(UTC)
    book.fills = [
        ExchangeTrade(
            f"h{n}", f"old{n}", "BTC/USDT", OrderSide.BUY, "1", "9", "9", now - timedelta(minutes=n)
        )
        for n in range(PAGE * 2 + 5, 0, -1)
    ]
    book.fills.insert(
        0, ExchangeTrade("h-old", "older", "BTC/USDT", OrderSide.BUY, "1", "9", "9", now - timedelta(days=31))
    )
    await comparing.compare()
    trades = await comparing.trades()
    assert len(trades) == 1000  # a page of ListTrades
    assert {each.order_id for each in trades} == {""}
    assert await comparing.external() == []  # of what is from before nothing is made up
    assert book.asked.count("trades") >= 3


async def test_history_goes_on_where_it_was_left_off(comparing: Comparing) -> None:
    book, now = comparing.trader.book, datetime.now(UTC)
    book.fills = [
        ExchangeTrade(f"h{n}", "old", "BTC/USDT", OrderSide.BUY, "1", "9", "9", now - timedelta(hours=n))
        for n in range(PAGE + 10, 0, -1)
    ]
    await comparing.compare()
    asked = len(book.asked)
    await comparing.compare()
    assert len(await comparing.trades()) == PAGE + 10
    assert len(book.asked) - asked <= 4  # the question for all markets, open orders, and one page


async def test_many_trades_of_one_moment_do_not_hold_up_the_rest(comparing: Comparing) -> None:
    book, then = comparing.trader.book, datetime.now(UTC) - timedelta(days=1)
    book.fills = [
        ExchangeTrade(f"m{n}", "old", "BTC/USDT", OrderSide.BUY, "1", "9", "9", then) for n in range(PAGE)
    ]
    book.fills += [
        ExchangeTrade("later", "old", "BTC/USDT", OrderSide.BUY, "1", "9", "9", then + timedelta(seconds=1))
    ]
    await comparing.compare()
    assert "later" in {each.exchange_trade_id for each in await comparing.trades()}


async def test_more_pages_than_are_read_at_once_are_read_by_the_next_comparisons(
    comparing: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_reading, "PAGE", 2)
    book, then = comparing.trader.book, datetime.now(UTC) - timedelta(days=2)
    book.fills = [old(f"m{n}", "BTC/USDT", then + timedelta(minutes=n)) for n in range(50)]
    counts = []
    for _ in range(4):
        assert await comparing.compare() == 1
        counts.append(len(await comparing.trades()))
    assert counts[0] < 50
    assert counts == sorted(counts)
    assert counts[-1] == 50


async def test_a_history_without_trades_is_read_once(comparing: Comparing) -> None:
    book = comparing.trader.book
    await comparing.compare()
    await comparing.compare()
    asked = [since for symbol, since in book.asked_trades if datetime.now(UTC) - since > timedelta(hours=3)]
    assert len(asked) == 1
    book.fills.append(old("late", "BTC/USDT", datetime.now(UTC) - timedelta(minutes=30)))
    await comparing.compare()
    assert [each.exchange_trade_id for each in await comparing.trades()] == ["late"]


@by_market
async def test_where_a_market_has_to_be_named_each_is_asked_where_something_was_ordered_or_is_held(
    comparing: Comparing, wants: KeybridgeError
) -> None:
    """More of them than are asked for what is only likely to have been traded."""
    trader, fake = comparing.trader, exchange(comparing)
    assets = seventy_markets(fake)
    trader.book.wants_market = wants
    orders = [await trader.place(symbol=symbol) for symbol in list(fake.known_markets)[:60]]
    fake.balances = [Balance(each, "1", "0", "1") for each in ("USDT", *assets[60:])]
    for order in orders:
        trader.book.fill(order.exchange_order_id)
    made = trader.book.add(limit(OrderSide.BUY, "1", "7", "A069/USDT"))
    assert await comparing.compare() == 1
    assert {state(await trader.get(order)) for order in orders} == {"FILLED"}
    assert len(await comparing.trades()) == 60
    assert [each.exchange_order_id for each in await comparing.external()] == [made.id]
    asked = {symbol for symbol, _ in trader.book.asked_trades if symbol}
    assert asked == set(fake.known_markets)


@by_market
async def test_of_what_is_only_held_no_more_than_fifty_markets_are_asked(
    comparing: Comparing, wants: KeybridgeError
) -> None:
    trader, fake = comparing.trader, exchange(comparing)
    assets = seventy_markets(fake)
    fake.balances = [Balance(each, "1", "0", "1") for each in ("USDT", *assets)]
    trader.book.wants_market = wants
    await comparing.compare()
    assert len({symbol for symbol, _ in trader.book.asked_trades if symbol}) == 50


@by_market
async def test_where_only_open_orders_are_told_by_the_market_trades_are_asked_for_so_too(
    comparing: Comparing, wants: KeybridgeError
) -> None:
    trader = comparing.trader
    order = await trader.place()
    trader.book.fill(order.exchange_order_id)
    trader.book.wants_market, trader.book.tells_all_trades = wants, True
    await comparing.compare()
    assert state(await trader.get(order)) == "FILLED"


async def test_contracts_are_asked_for_besides_where_all_is_told_of_spot_markets(
    comparing: Comparing,
) -> None:
    trader, fake = comparing.trader, exchange(comparing)
    contract = "BTC/USDT:USDT"
    fake.known_markets[contract] = type(spot("BTC/USDT"))(contract, MarketType.SWAP, "BTC", "USDT", "USDT")
    trader.book.separate = {contract}
    spot_order, order = await trader.place(), await trader.place(symbol=contract)
    trader.book.fill_some(order.exchange_order_id, "0.2")
    trader.book.tells_single_orders = False
    await trader.change(order, "updated_at = now() - interval '1 minute'")
    await comparing.compare()
    now = await trader.get(order)
    assert (state(now), now.filled) == ("OPEN", "0.2")
    assert [each.order_id for each in await comparing.trades()] == [order.order_id]
    assert state(await trader.get(spot_order)) == "OPEN"


@pytest.mark.parametrize("wants", [None, WANTS_A_MARKET[0]], ids=["all at once", "by market"])
async def test_a_market_that_is_no_longer_there_does_not_hold_up_the_others(
    comparing: Comparing, wants: KeybridgeError | None
) -> None:
    trader, fake = comparing.trader, exchange(comparing)
    fake.known_markets["GONE/USDT"] = spot("GONE/USDT")
    await trader.place(symbol="GONE/USDT")
    order = await trader.place()
    trader.book.fill(order.exchange_order_id)
    trader.book.ended_markets.add("GONE/USDT")
    del fake.known_markets["GONE/USDT"]
    trader.book.wants_market = wants
    for _ in range(2):
        assert await comparing.compare() == 1
    assert state(await trader.get(order)) == "FILLED"
    assert len(await comparing.trades()) == 1


async def test_where_no_trades_are_told_what_is_open_is_compared_all_the_same(comparing: Comparing) -> None:
    trader = comparing.trader
    trader.book.takes_client_ids = False
    trader.book.refusal = FailedPrecondition("There is no such call.", reason="NOT_SUPPORTED")
    trader.book.fail("trades", *[Fault.REFUSE] * 9)
    made = trader.book.add(limit(OrderSide.SELL, "2", "150"))
    gone = await trader.place()
    trader.book.end(gone.exchange_order_id)
    trader.book.tells_single_orders = False
    await trader.change(gone, "updated_at = now() - interval '1 minute'")
    for _ in range(2):
        assert await comparing.compare() == 1
    assert [each.exchange_order_id for each in await comparing.external()] == [made.id]
    assert state(await trader.get(gone)) == "OPEN"  # filled or not: nobody says
