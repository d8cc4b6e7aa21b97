"""Comparing the exchange with the journal: fills count once, strangers are recorded, what vanished is looked up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from bridgeservice import history_reading
from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.orders import ExchangeTrade
from bridgeservice.store.reconciliations import Pace
from bridgeservice.v1.order_pb2 import Order
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition
from tests.support.bridge_service import connector_request, running
from tests.support.comparing import ALWAYS, Comparing, compared, looped
from tests.support.fake_exchanges import spot
from tests.support.fake_orders import Fault
from tests.support.probe import eventually
from tests.support.trading import Trader, state, unknown


@pytest.fixture
async def comparing(database: Database) -> AsyncIterator[Comparing]:
    async with compared(database) as comparing:
        yield comparing


@pytest.fixture
async def used(comparing: Comparing) -> Comparing:
    """One whose connector has been used, and compared once."""
    await comparing.begin()
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


async def test_a_replica_that_compares_for_longer_than_it_may_takes_the_connector_from_nobody(
    used: Comparing, make_database: Callable[[], Database]
) -> None:
    trader = used.trader
    order = await trader.place()
    trader.book.fill(order.exchange_order_id)
    short = replace(ALWAYS, lease=timedelta(0))
    slow, slow_work = looped(trader, make_database(), short)
    trader.book.fail("trades", Fault.HANG, Fault.HANG)
    assert await slow.once() == 1
    await eventually(lambda: "trades" in trader.book.asked[-2:], "it reads trades")
    assert await used.loop.once() == 1
    await eventually(lambda: trader.book.asked.count("trades") > 3, "the other one does, too")
    trader.book.gate.set()
    await slow_work.end()
    await used.work.end()
    now = await trader.get(order)
    assert (state(now), now.filled) == ("FILLED", "0.50")
    assert len(await used.trades()) == 1


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


async def vanished(used: Comparing, age: str = "1 minute") -> Order:
    """An order that the exchange neither lists nor knows any more, acknowledged so long ago."""
    order = await used.trader.place()
    del used.trader.book.placed[order.exchange_order_id]
    await used.trader.change(order, f"updated_at = now() - interval '{age}'")
    return order


async def test_an_order_that_is_nowhere_has_ended(used: Comparing) -> None:
    order = await vanished(used)
    await used.compare()
    assert state(await used.trader.get(order)) == "CANCELED"


async def test_so_has_one_that_was_filled_in_part_and_of_which_the_exchange_says_no_more(
    used: Comparing,
) -> None:
    trader = used.trader
    trader.book.takes_client_ids = trader.book.tells_single_orders = False
    order = await unknown(trader, amount="0.70")
    made = trader.book.open[-1]
    trader.book.fill_some(made.id, "0.2")
    trader.book.end(made.id)
    assert state(await trader.look(order)) == "UNKNOWN"
    await trader.change(order, "updated_at = now() - interval '1 minute'")
    await used.compare()
    now = await trader.get(order)
    assert (state(now), now.filled, now.reason) == ("CANCELED", "0.2", "")


async def test_but_not_right_after_it_was_acknowledged(used: Comparing) -> None:
    order = await vanished(used, "5 seconds")
    await used.compare()
    assert state(await used.trader.get(order)) == "OPEN"


async def test_nor_while_there_are_trades_that_were_not_read(
    used: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_reading, "PAGE", 1)
    order = await vanished(used)
    now = datetime.now(UTC)
    used.trader.book.fills = [
        ExchangeTrade(f"t{n}", "7", "BTC/USDT", OrderSide.SELL, "1", "9", "9", now - timedelta(minutes=n))
        for n in range(15, 0, -1)
    ]
    await used.compare()
    assert state(await used.trader.get(order)) == "OPEN"
    await used.compare()
    assert state(await used.trader.get(order)) == "CANCELED"


async def test_nor_where_its_market_was_not_asked(used: Comparing) -> None:
    trader = used.trader
    exchange = trader.bridge.exchanges[trader.connector]
    exchange.known_markets["ETH/USDT"] = spot("ETH/USDT")
    order = await trader.place(symbol="ETH/USDT")
    await trader.change(order, "updated_at = now() - interval '1 minute'")
    del exchange.known_markets["ETH/USDT"]
    trader.book.ended_markets.add("ETH/USDT")
    other, work = looped(trader, trader.database)  # which has yet to learn how this exchange tells
    trader.book.wants_market = FailedPrecondition("Name a market.", reason="NOT_SUPPORTED")
    assert await other.once() == 1
    await work.end()
    assert state(await trader.get(order)) == "OPEN"


async def test_a_trade_that_came_at_the_same_moment_as_its_order_is_given_to_it(used: Comparing) -> None:
    trader = used.trader
    trader.book.fills_at_once = True
    order = await trader.place()
    await used.compare()
    async with trader.database.autocommit() as connection:
        changed = text("UPDATE bridge.trades SET order_id = NULL WHERE order_id = :id")
        assert (await connection.execute(changed, {"id": UUID(order.order_id)})).rowcount == 1
    trader.book.tells_single_orders = trader.book.takes_client_ids = False
    await used.compare()
    assert [each.order_id for each in await used.trades()] == [order.order_id]


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
