"""Orders that were made elsewhere: found at the exchange, recorded once, and cancelled where nothing may be open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from sqlalchemy import text

from bridgeservice.enums import OrderSide, OrderState, OrderType
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.store import order_claims, risk
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import Order
from servicekit.database.engine import Connection, Database
from servicekit.errors import Unavailable
from tests.support.comparing import Comparing, compared
from tests.support.fake_exchanges import spot
from tests.support.trading import LONG_AFTER, Trader, state, unknown

ELSEWHERE = Ticket("BTC/USDT", OrderSide.SELL, OrderType.LIMIT, "2", "150", client_order_id="not-ours")


@pytest.fixture
async def used(database: Database) -> AsyncIterator[Comparing]:
    async with compared(database) as comparing:
        await comparing.begin()
        yield comparing


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


@pytest.mark.parametrize(
    ("engaged", "wanted"),
    [
        ({"cancel_open_orders": True}, "CANCELED"),
        ({"cancel_open_orders": True, "connector_name": "kraken"}, "CANCELED"),
        ({"cancel_open_orders": True, "connector_name": "gate"}, "OPEN"),
        ({"cancel_open_orders": False}, "OPEN"),
    ],
    ids=["account", "connector", "other connector", "refuses only"],
)
async def test_an_order_that_is_made_elsewhere_under_a_kill_switch_is_cancelled_where_that_cancels(
    used: Comparing, engaged: dict[str, Any], wanted: str
) -> None:
    trader = used.trader
    request = pb.EngageKillSwitchRequest(account_name=trader.account, **engaged)
    await trader.bridge.stub.EngageKillSwitch(request)
    trader.book.add(ELSEWHERE)
    await used.compare()
    [order] = await used.external()
    row = await trader.row(order)
    assert (row["next_check_at"] is not None) is (wanted == "CANCELED")
    if wanted == "CANCELED":
        order = await trader.look(order)
    assert state(order) == wanted


async def test_one_that_is_being_recorded_when_a_kill_switch_is_engaged_is_cancelled_by_it(
    used: Comparing,
) -> None:
    trader = used.trader
    made = trader.book.add(ELSEWHERE)
    request = pb.EngageKillSwitchRequest(account_name=trader.account, cancel_open_orders=True)
    engaging: list[asyncio.Task[object]] = []
    cancels = risk.cancels

    async def meanwhile_engaged(connection: Connection, account_id: UUID, connector_name: str) -> bool:
        none_yet = await cancels(connection, account_id, connector_name)
        asked = asyncio.ensure_future(trader.bridge.stub.EngageKillSwitch(request))
        engaging.append(asked)
        ours = await connection.scalar(text("SELECT pg_backend_pid()"))
        while not asked.done() and not await is_waited_for(  # noqa: ASYNC110 - it happens inside PostgreSQL
            trader.database, ours
        ):
            await asyncio.sleep(0.01)
        return none_yet

    with mock.patch.object(risk, "cancels", meanwhile_engaged):
        await used.compare()
    await engaging[0]
    assert trader.book.placed[made.id].state is OrderState.CANCELED


async def is_waited_for(database: Database, backend: int) -> bool:
    """Whether anybody waits for a lock that this one has."""
    statement = text("SELECT pid FROM pg_stat_activity WHERE :backend = ANY (pg_blocking_pids(pid))")
    async with database.autocommit() as connection:
        return (await connection.execute(statement, {"backend": backend})).first() is not None


async def test_one_of_which_the_exchange_does_not_say_how_it_stands_is_recorded_and_asked_about(
    used: Comparing,
) -> None:
    made = used.trader.book.add(ELSEWHERE)
    used.trader.book.fill_some(made.id, "1")
    used.trader.book.placed[made.id] = replace(used.trader.book.placed[made.id], state=OrderState.UNKNOWN)
    await used.compare()
    [order] = await used.external()
    assert state(order) == "UNKNOWN"
    used.trader.book.end(made.id)
    assert state(await used.trader.look(order)) == "CANCELED"


async def test_a_client_order_id_that_others_use_again_is_another_order(used: Comparing) -> None:
    first = used.trader.book.add(ELSEWHERE)
    await used.compare()
    used.trader.book.end(first.id)
    second = used.trader.book.add(ELSEWHERE)
    await used.compare()
    assert {each.exchange_order_id for each in await used.external()} == {first.id, second.id}


@pytest.mark.parametrize("asked_by_client_id", [True, False], ids=["not placed", "never seen"])
async def test_one_of_ours_that_turns_up_after_all_is_that_order_and_no_strangers(
    used: Comparing, *, asked_by_client_id: bool
) -> None:
    trader = used.trader
    trader.book.tells_by_client_id = asked_by_client_id
    order = await given_up(trader)
    assert (state(order), order.reason) == (
        ("REJECTED", "NOT_PLACED") if asked_by_client_id else ("CANCELED", "NEVER_SEEN")
    )
    [made] = [each for each in trader.book.open if each.client_order_id == order.client_order_id]
    trader.book.fill_some(made.id, "0.2")
    await used.compare()
    now = await trader.get(order)
    assert (state(now), now.reason, now.exchange_order_id, now.filled) == ("OPEN", "", made.id, "0.2")
    assert await used.external() == []


async def test_one_of_ours_that_turns_up_under_a_kill_switch_is_cancelled(used: Comparing) -> None:
    trader = used.trader
    order = await given_up(trader)
    request = pb.EngageKillSwitchRequest(account_name=trader.account, cancel_open_orders=True)
    await trader.bridge.stub.EngageKillSwitch(request)
    assert [each.client_order_id for each in trader.book.open] == [order.client_order_id]
    await used.compare()
    assert state(await trader.look(order)) == "CANCELED"
    assert trader.book.open == []


async def test_nor_is_that_forgotten_when_the_database_goes_away_in_between(used: Comparing) -> None:
    trader = used.trader
    order = await given_up(trader)
    request = pb.EngageKillSwitchRequest(account_name=trader.account, cancel_open_orders=True)
    await trader.bridge.stub.EngageKillSwitch(request)
    before = state(await trader.get(order))
    with (
        mock.patch.object(order_claims, "request_cancels", side_effect=Unavailable("Gone.")),
        suppress(Unavailable),
    ):
        await used.compare()
    assert state(await trader.get(order)) == before
    await used.forget_the_pause()
    await used.compare()
    assert state(await trader.look(order)) == "CANCELED"


async def given_up(trader: Trader) -> Order:
    """An order that is on the book, and that the exchange did not know for as long as it was asked."""
    order = await unknown(trader)
    there, trader.book.placed = trader.book.placed, {}
    for _ in range(3):
        order = await trader.look(order, after=LONG_AFTER)
    trader.book.placed = there
    return order


async def test_orders_with_one_id_on_two_markets_are_two(used: Comparing) -> None:
    """As exchanges have them that count anew for each market."""
    trader = used.trader
    trader.bridge.exchanges[trader.connector].known_markets["ETH/USDT"] = spot("ETH/USDT")
    ours = await trader.place(symbol="ETH/USDT")
    theirs = trader.book.placed.pop(trader.book.add(ELSEWHERE).id)
    trader.book.placed["on the other market"] = replace(theirs, id=ours.exchange_order_id)
    await used.compare()
    [external] = await used.external()
    assert (external.symbol, external.exchange_order_id) == ("BTC/USDT", ours.exchange_order_id)
    now = await trader.get(ours)
    assert (state(now), now.symbol, now.side) == ("OPEN", "ETH/USDT", ours.side)


async def test_of_orders_that_are_known_by_their_trades_only_no_more_than_fifty_are_asked_for_at_once(
    used: Comparing,
) -> None:
    trader = used.trader
    for n in range(60):
        trader.book.fill(trader.book.add(replace(ELSEWHERE, client_order_id=f"not-ours-{n}")).id)
    before = trader.book.asked.count("order")
    counts = []
    for _ in range(2):
        await used.compare()
        counts.append(len(await used.external()))
    assert counts == [50, 60]
    assert trader.book.asked.count("order") - before == 60


async def test_orders_that_the_exchange_does_not_know_do_not_stand_in_the_way_of_newer_ones(
    used: Comparing,
) -> None:
    trader = used.trader
    lost = [trader.book.add(replace(ELSEWHERE, client_order_id=f"lost-{n}")) for n in range(60)]
    for each in lost:
        trader.book.fill(each.id)
        del trader.book.placed[each.id]
    await used.compare()
    made = trader.book.add(ELSEWHERE)
    trader.book.fill(made.id)
    await used.compare()
    assert [each.exchange_order_id for each in await used.external()] == [made.id]
