"""What becomes of orders of which it is not known whether they were placed. Nothing is ever sent again."""

import asyncio
from typing import Any
from unittest import mock

import pytest

from bridgeservice.enums import OrderState
from bridgeservice.store import order_claims
from bridgeservice.v1.order_pb2 import ORDER_TYPE_MARKET, TIME_IN_FORCE_IOC
from servicekit.database.engine import Database
from servicekit.errors import Unavailable
from tests.support.bridge_service import connector_request
from tests.support.fake_orders import Fault
from tests.support.probe import eventually
from tests.support.trading import LONG_AFTER, Trader, state, trading, unknown


class TestByClientOrderId:
    """The exchange is asked for it."""

    async def test_an_order_that_was_accepted_is_found(self, trader: Trader) -> None:
        order = await unknown(trader)
        found = await trader.look(order)
        assert (state(found), found.reason, found.exchange_order_id) == ("OPEN", "", "1")
        assert trader.sent == 1
        assert (await trader.row(order))["next_check_at"] is None

    async def test_one_that_was_filled_meanwhile_is_found_filled(self, trader: Trader) -> None:
        order = await unknown(trader)
        trader.book.fill("1")
        found = await trader.look(order)
        assert (state(found), found.filled, found.average_price) == ("FILLED", "0.50", "100.10")

    async def test_that_the_exchange_does_not_know_it_is_believed_only_after_the_settling_time(
        self, trader: Trader
    ) -> None:
        order = await unknown(trader, Fault.BEFORE)
        for after in ("1 second", "2 minutes"):
            found = await trader.look(order, after=after)
            assert (state(found), found.reason) == ("UNKNOWN", "EXCHANGE_UNAVAILABLE")
        found = await trader.look(order, after="1 minute")
        assert (state(found), found.reason) == ("REJECTED", "NOT_PLACED")
        assert trader.sent == 1

    async def test_and_only_when_it_has_said_so_several_times(self, trader: Trader) -> None:
        order = await unknown(trader, Fault.BEFORE)
        states = [state(await trader.look(order, after=LONG_AFTER)) for _ in range(3)]
        assert states == ["UNKNOWN", "UNKNOWN", "REJECTED"]

    async def test_questions_that_were_not_answered_do_not_count(self, trader: Trader) -> None:
        order = await unknown(trader, Fault.BEFORE)
        trader.book.fail("order", *[Fault.BEFORE] * 5)
        for _ in range(5):
            assert state(await trader.look(order, after=LONG_AFTER)) == "UNKNOWN"
        assert (await trader.row(order))["check_count"] == 0

    async def test_an_order_that_arrives_late_is_found(self, trader: Trader) -> None:
        order = await unknown(trader)
        trader.book.hidden = True
        assert state(await trader.look(order)) == "UNKNOWN"
        trader.book.hidden = False
        assert state(await trader.look(order, after="1 minute")) == "OPEN"

    async def test_an_answer_that_says_nothing_leaves_it_unknown(self, trader: Trader) -> None:
        order = await unknown(trader)
        [placed] = trader.book.placed.values()
        object.__setattr__(placed, "state", OrderState.UNKNOWN)
        found = await trader.look(order)
        assert (state(found), found.reason) == ("UNKNOWN", "EXCHANGE_BAD_RESPONSE")
        assert found.exchange_order_id == "1"


class TestTheLoop:
    """Who asks, and when."""

    async def test_it_asks_by_itself_and_goes_on_when_the_database_was_away(self, trader: Trader) -> None:
        away = Unavailable("The database can't be reached.", reason="DATABASE_UNAVAILABLE")
        orders = [await unknown(trader) for _ in range(3)]
        with mock.patch.object(
            order_claims, "due", side_effect=[away, *[mock.DEFAULT] * 99], wraps=order_claims.due
        ):
            running = asyncio.create_task(trader.bridge.resolving.run())
            for order in orders:
                await trader.once(order, "OPEN")
        running.cancel()

    async def test_what_its_sender_left_behind_is_unknown_when_its_time_is_over(self, trader: Trader) -> None:
        order = await trader.place()
        await trader.change(order, "state = 'pending', exchange_order_id = NULL, next_check_at = now()")
        assert state(await trader.look(order)) == "OPEN"

    async def test_what_is_being_sent_is_left_alone(self, trader: Trader) -> None:
        trader.book.fail("place", Fault.HANG)
        placing = asyncio.create_task(trader.place())
        await eventually(lambda: "place" in trader.book.asked, "it is sent")
        assert await trader.bridge.resolving.once() == 0
        trader.book.gate.set()
        assert state(await placing) == "OPEN"

    async def test_orders_of_connectors_that_are_elsewhere_are_unknown_and_wait(
        self, database: Database
    ) -> None:
        async with trading(database) as trader:
            orders = [await unknown(trader), await trader.place()]
            await trader.change(orders[1], "state = 'pending', next_check_at = now()")
        async with trading(database) as other:
            mine = await unknown(other)
            for _ in range(3):
                await other.bridge.resolving.once()
            assert state(await other.once(mine, "OPEN")) == "OPEN"
            assert await other.bridge.resolving.once() == 0
            rows = [await other.row(order) for order in orders]
            assert [row["state"] for row in rows] == ["unknown", "unknown"]
            assert rows[1]["reason"] == "INTERRUPTED"

    async def test_a_connector_that_is_pushed_has_its_orders_asked_about_at_once(
        self, database: Database
    ) -> None:
        async with trading(database) as trader:
            order = await unknown(trader)
            book = trader.book
            await trader.change(order, "next_check_at = now() + interval '1 day'")
        async with trading(database) as after:
            after.bridge.exchanges["kraken"].orders = book
            await after.bridge.stub.AddConnector(connector_request(account_name=trader.account))
            assert await after.bridge.resolving.once() == 1
            await eventually(lambda: not after.bridge.resolving.busy, "it has asked")
            assert (await after.row(order))["state"] == "open"

    async def test_an_order_that_two_replicas_want_to_ask_about_is_asked_about_once(
        self, database: Database
    ) -> None:
        async with trading(database) as one, trading(database) as other:
            order = await unknown(one)
            other.bridge.exchanges["kraken"].orders = one.book
            await other.bridge.stub.AddConnector(connector_request(account_name=one.account))
            started = await asyncio.gather(
                *(trader.bridge.resolving.once() for trader in (one, other) for _ in range(3))
            )
            assert sum(started) == 1
            await one.once(order, "OPEN")
            assert one.book.asked.count("order") == 1

    async def test_what_cannot_be_asked_is_asked_again_with_growing_pauses(self, trader: Trader) -> None:
        order = await unknown(trader)
        pauses = []
        for after in ("0", "10 seconds", "1 minute", "1 day"):
            trader.book.fail("order", Fault.BEFORE)
            await trader.look(order, after=after)
            row = await trader.row(order)
            pauses.append((row["next_check_at"] - row["read_at"]).total_seconds())
            assert (row["state"], row["reason"]) == ("unknown", "EXCHANGE_TIMEOUT")
        assert pauses == sorted(pauses)
        assert pauses[0] < 1  # below nothing where it took longer to look at the row
        assert 40 < pauses[-1] < 76
        assert state(await trader.look(order)) == "OPEN"

    async def test_a_fault_that_nobody_foresaw_leaves_the_order_for_later(self, trader: Trader) -> None:
        order = await unknown(trader)
        trader.book.fail("order", Fault.STUMBLE)
        assert state(await trader.look(order)) == "UNKNOWN"
        assert (await trader.row(order))["next_check_at"] is not None
        assert state(await trader.look(order)) == "OPEN"


class TestWhatMayNotWait:
    """A market order, or one that is filled at once or not at all, of which the exchange first said that it has it."""

    @pytest.mark.parametrize(
        "fields",
        [{"type": ORDER_TYPE_MARKET, "price": ""}, {"time_in_force": TIME_IN_FORCE_IOC}],
        ids=["market", "ioc"],
    )
    async def test_is_asked_about_again(self, trader: Trader, fields: dict[str, Any]) -> None:
        order = await trader.place(**fields)
        assert state(order) == "OPEN"
        assert state(await trader.look(order)) == "OPEN"
        trader.book.fill("1")
        found = await trader.look(order)
        assert (state(found), found.filled) == ("FILLED", "0.50")
        assert (await trader.row(order))["next_check_at"] is None

    async def test_is_left_to_reconciliation_where_the_exchange_says_no_more(self, trader: Trader) -> None:
        order = await trader.place(time_in_force=TIME_IN_FORCE_IOC)
        trader.book.hidden = True
        assert state(await trader.look(order)) == "OPEN"
        assert (await trader.row(order))["next_check_at"] is None
