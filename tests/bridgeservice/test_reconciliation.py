"""Comparing the exchange with the journal: fills count once, strangers are recorded, what vanished is looked up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from bridgeservice.enums import OrderSide, OrderState, OrderType
from bridgeservice.exchanges.orders import ExchangeTrade, Ticket
from bridgeservice.history_reading import PAGE, HistoryReading
from bridgeservice.journal import Journal
from bridgeservice.reconciliation import Reconciliation
from bridgeservice.reconciliation_loop import ReconciliationLoop
from bridgeservice.store.reconciliations import Pace
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import Order
from bridgeservice.v1.trade_pb2 import Trade
from servicekit.database.engine import Database
from servicekit.work import Work
from tests.support.bridge_service import connector_request, running
from tests.support.fake_orders import Fault
from tests.support.trading import Trader, state, trading

ALWAYS = Pace(soon=timedelta(0), often=timedelta(0), seldom=timedelta(0), lease=timedelta(seconds=30))
ELSEWHERE = Ticket("BTC/USDT", OrderSide.SELL, OrderType.LIMIT, "2", "150", client_order_id="not-ours")


@dataclass
class Comparing:
    """A trader, and the loop that compares his connector, turned by hand."""

    trader: Trader
    loop: ReconciliationLoop
    work: Work

    async def compare(self) -> int:
        """One turn, to its end."""
        begun = await self.loop.once()
        await self.work.end()
        return begun

    async def forget_the_pause(self) -> None:
        """As if the time after a failure had passed."""
        async with self.trader.database.autocommit() as connection:
            await connection.execute(
                text(
                    "UPDATE bridge.reconciliations SET claimed_until = NULL FROM bridge.accounts"
                    " WHERE accounts.id = account_id AND account_name = :account"
                ),
                {"account": self.trader.account},
            )

    async def trades(self) -> list[Trade]:
        request = pb.ListTradesRequest(account_name=self.trader.account, page_size=1000)
        return list((await self.trader.bridge.stub.ListTrades(request)).trades)

    async def external(self) -> list[Order]:
        return [each for each in await self.trader.listed() if each.external]


def looped(trader: Trader, database: Database, pace: Pace = ALWAYS) -> tuple[ReconciliationLoop, Work]:
    bridge, work = trader.bridge, Work(timedelta(seconds=20))
    history = HistoryReading(database, bridge.calls, bridge.sessions, backfill=timedelta(days=30))
    reconciliation = Reconciliation(database, Journal(database), bridge.sessions, history)
    loop = ReconciliationLoop(database, bridge.accounts, reconciliation, work, pace)
    loop.hear(bridge.accounts.connector(trader.account, trader.connector))
    return loop, work


@asynccontextmanager
async def compared(database: Database) -> AsyncIterator[Comparing]:
    async with trading(database) as trader:
        yield Comparing(trader, *looped(trader, database))


@pytest.fixture
async def comparing(database: Database) -> AsyncIterator[Comparing]:
    async with compared(database) as comparing:
        yield comparing


@pytest.fixture
async def used(comparing: Comparing) -> Comparing:
    """One whose connector has been used, and compared once."""
    await comparing.trader.place()
    comparing.loop.use(comparing.trader.account)
    assert await comparing.compare() == 1
    return comparing


async def test_a_connector_that_nobody_trades_with_costs_the_exchange_nothing(comparing: Comparing) -> None:
    assert await comparing.compare() == 0
    assert not comparing.trader.book.asked


async def test_fills_during_an_outage_appear_exactly_once(used: Comparing) -> None:
    trader = used.trader
    order = await trader.place()
    trader.book.fill_some(order.exchange_order_id, "0.20")
    await used.compare()
    now = await trader.get(order)
    assert (state(now), now.filled, now.remaining) == ("OPEN", "0.20", "0.30")
    trader.book.fill_some(order.exchange_order_id, "0.10")
    trader.book.fill_some(order.exchange_order_id, "0.20")
    for _ in range(3):
        await used.compare()
    now = await trader.get(order)
    assert (state(now), now.filled, now.cost) == ("FILLED", "0.50", "50.0500")
    assert [each.amount for each in await used.trades()] == ["0.20", "0.10", "0.20"]
    assert {each.order_id for each in await used.trades()} == {order.order_id}


async def test_two_replicas_that_compare_at_once_count_a_fill_once(
    used: Comparing, make_database: Callable[[], Database]
) -> None:
    trader = used.trader
    order = await trader.place()
    trader.book.fill(order.exchange_order_id)
    other, work = looped(trader, make_database())
    await asyncio.gather(used.loop.once(), other.once())
    await work.end()
    await used.work.end()
    await used.compare()
    now = await trader.get(order)
    assert (state(now), now.filled) == ("FILLED", "0.50")
    assert len(await used.trades()) == 1


async def test_an_open_order_that_was_made_elsewhere_is_recorded_and_can_be_cancelled(
    used: Comparing,
) -> None:
    made = used.trader.book.add(ELSEWHERE)
    await used.compare()
    [order] = await used.external()
    assert (state(order), order.exchange_order_id, order.client_order_id) == ("OPEN", made.id, "not-ours")
    assert (order.amount, order.price) == ("2", "150")
    assert state(await used.trader.cancel(order)) == "CANCELED"
    assert used.trader.book.placed[made.id].state is OrderState.CANCELED


async def test_an_order_that_was_made_and_filled_elsewhere_in_between_is_recorded_with_its_trades(
    used: Comparing,
) -> None:
    made = used.trader.book.add(ELSEWHERE)
    used.trader.book.fill(made.id)
    await used.compare()
    [order] = await used.external()
    assert (state(order), order.filled, order.cost) == ("FILLED", "2", "300")
    [trade] = await used.trades()
    assert trade.order_id == order.order_id


async def test_an_order_that_vanished_is_looked_up_before_its_state_changes(used: Comparing) -> None:
    trader = used.trader
    order = await trader.place()
    trader.book.end(order.exchange_order_id)
    trader.book.fail("order", Fault.BEFORE)
    await used.compare()
    assert state(await trader.get(order)) == "OPEN"  # the exchange did not say what became of it
    await used.forget_the_pause()
    await used.compare()
    assert state(await trader.get(order)) == "CANCELED"


async def test_an_order_whose_outcome_is_not_known_is_not_taken_for_a_strangers(used: Comparing) -> None:
    trader = used.trader
    trader.book.takes_client_ids = False
    trader.book.fail("place", Fault.AFTER)
    order = await trader.place()
    assert state(order) == "UNKNOWN"
    await used.compare()
    assert await used.external() == []


async def test_an_order_whose_outcome_is_not_known_is_found_by_its_client_order_id(used: Comparing) -> None:
    trader = used.trader
    trader.book.fail("place", Fault.AFTER)
    order = await trader.place()
    assert state(order) == "UNKNOWN"
    await used.compare()
    assert state(await trader.get(order)) == "OPEN"
    assert await used.external() == []


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
    comparing.loop.use(comparing.trader.account)
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
    comparing.loop.use(comparing.trader.account)
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
    comparing.loop.use(comparing.trader.account)
    await comparing.compare()
    assert "later" in {each.exchange_trade_id for each in await comparing.trades()}


async def test_a_comparison_that_fails_is_not_made_again_at_once(used: Comparing) -> None:
    used.trader.book.fail("trades", Fault.BEFORE)
    assert await used.compare() == 1
    assert await used.compare() == 0


async def test_after_a_restart_a_connector_is_compared_as_soon_as_it_is_there_again(
    used: Comparing, make_database: Callable[[], Database]
) -> None:
    trader, database = used.trader, make_database()
    async with running(database=database) as restarted:
        restarted.exchanges["kraken"].orders = trader.book
        await restarted.stub.AddConnector(connector_request("kraken", account_name=trader.account))
        again = Trader(restarted, database, trader.account)
        order = await trader.place()
        trader.book.fill(order.exchange_order_id)
        a_day = timedelta(days=1)
        rarely = Pace(soon=a_day, often=a_day, seldom=a_day, lease=timedelta(seconds=30))
        loop, work = looped(again, database, rarely)
        assert await loop.once() == 1
        await work.end()
        assert state(await again.get(order)) == "FILLED"
        assert await loop.once() == 0


async def test_what_is_filled_at_once_is_followed_by_its_trades_soon(
    used: Comparing, database: Database
) -> None:
    a_day = timedelta(days=1)
    loop, work = looped(
        used.trader, database, Pace(soon=timedelta(0), often=a_day, seldom=a_day, lease=timedelta(seconds=30))
    )
    await loop.once()
    await work.end()
    assert await loop.once() == 0
    used.trader.book.fills_at_once = True
    order = await used.trader.place()
    assert await loop.once() == 1
    await work.end()
    assert [each.order_id for each in await used.trades()] == [order.order_id]
    await loop.once()
    await work.end()
    assert await loop.once() == 0
