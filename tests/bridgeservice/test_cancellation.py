"""Cancelling orders over a real socket: what the exchange says of the order afterwards is what is believed."""

import asyncio
from unittest import mock

import grpc
import pytest

from bridgeservice.store import orders as order_store
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import TIME_IN_FORCE_IOC, Order
from servicekit.errors import FailedPrecondition, Internal, InvalidArgument, KeybridgeError
from tests.support.bridge_service import connector_request
from tests.support.fake_exchanges import FakeSession
from tests.support.fake_orders import Fault
from tests.support.key_service import refusal, violations
from tests.support.probe import eventually
from tests.support.trading import Trader, state


async def refused(trader: Trader, order: Order, *, seconds: float = 20) -> tuple[grpc.StatusCode, str | None]:
    told = await refusal(trader.cancel(order, seconds=seconds))
    return told.code, told.reason


class TestOne:
    """CancelOrder."""

    async def test_an_open_order_is_cancelled(self, trader: Trader) -> None:
        order = await trader.place()
        cancelled = await trader.cancel(order)
        assert (state(cancelled), cancelled.filled, cancelled.remaining) == ("CANCELED", "0", "0.50")
        assert trader.book.open == []
        assert await trader.get(order) == cancelled
        assert (await trader.row(order))["next_check_at"] is None

    async def test_one_that_was_made_elsewhere_can_be_cancelled_too(self, trader: Trader) -> None:
        order = await trader.place()
        await trader.change(order, "external = true, client_order_id = NULL")
        assert state(await trader.cancel(order)) == "CANCELED"

    @pytest.mark.parametrize("ended", ["filled", "canceled", "rejected", "expired"])
    async def test_one_that_has_ended_is_refused_without_asking(self, trader: Trader, ended: str) -> None:
        order = await trader.place()
        await trader.change(order, f"state = '{ended}'")
        told = await refusal(trader.cancel(order))
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ORDER_NOT_OPEN")
        assert told.metadata["state"] == ended.upper()
        assert "cancel" not in trader.book.asked

    async def test_one_that_was_filled_before_the_exchange_heard_of_it_says_so_and_is_filled(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.fill(order.exchange_order_id)
        assert await refused(trader, order) == (grpc.StatusCode.FAILED_PRECONDITION, "ORDER_NOT_OPEN")
        now = await trader.get(order)
        assert (state(now), now.filled) == ("FILLED", "0.50")

    async def test_one_that_somebody_else_has_cancelled_is_cancelled(self, trader: Trader) -> None:
        order = await trader.place()
        trader.book.end(order.exchange_order_id)
        assert state(await trader.cancel(order)) == "CANCELED"

    async def test_what_came_of_a_cancel_that_was_not_answered_is_asked_for(self, trader: Trader) -> None:
        order = await trader.place()
        trader.book.fail("cancel", Fault.AFTER)
        assert state(await trader.cancel(order)) == "CANCELED"

    async def test_one_that_the_exchange_could_not_be_asked_to_end_is_ended_later(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.fail("cancel", Fault.BEFORE)
        assert await refused(trader, order) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE")
        assert state(await trader.get(order)) == "OPEN"
        assert state(await trader.look(order)) == "CANCELED"

    async def test_one_that_the_exchange_will_not_end_stays_and_nobody_asks_again(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.refusal = FailedPrecondition("Nobody can do that.", reason="NOT_SUPPORTED")
        trader.book.fail("cancel", Fault.REFUSE)
        assert await refused(trader, order) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_SUPPORTED")
        row = await trader.row(order)
        assert (row["state"], row["next_check_at"], row["cancel_requested_at"]) == ("open", None, None)

    @pytest.mark.parametrize(
        "refused_for",
        [
            FailedPrecondition("Not with these.", reason="CREDENTIALS_REJECTED"),
            FailedPrecondition("Not now.", reason="EXCHANGE_ERROR"),
            InvalidArgument("It does not know this market now.", reason="UNKNOWN_SYMBOL"),
            InvalidArgument("It does not read this now.", reason="BAD_REQUEST"),
        ],
        ids=lambda error: error.reason,
    )
    async def test_one_that_the_exchange_will_not_end_now_is_ended_when_it_will(
        self, trader: Trader, refused_for: KeybridgeError
    ) -> None:
        order = await trader.place()
        trader.book.refusal = refused_for
        trader.book.fail("cancel", *[Fault.REFUSE] * 2)
        assert (await refused(trader, order))[1] == refused_for.reason
        assert (await trader.row(order))["next_check_at"] is not None
        assert state(await trader.look(order)) == "OPEN"
        assert state(await trader.look(order)) == "CANCELED"

    async def test_one_that_can_neither_be_ended_nor_be_asked_for_with_these_credentials_is_ended_with_others(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.refusal = FailedPrecondition("Not with these.", reason="CREDENTIALS_REJECTED")
        for method in ("cancel", "order"):
            trader.book.fail(method, Fault.REFUSE)
        assert await refused(trader, order) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_REJECTED")
        assert state(await trader.look(order)) == "CANCELED"

    async def test_one_that_the_exchange_does_not_show_yet_is_ended_when_it_does(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.hidden = True
        assert await refused(trader, order) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")
        trader.book.hidden = False
        assert state(await trader.look(order)) == "CANCELED"

    async def test_what_became_of_it_is_written_later_where_the_database_stumbles(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        stumbled = Internal("Something else went wrong.")
        with mock.patch.object(order_store, "write", side_effect=stumbled):
            assert await refused(trader, order) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert state(await trader.look(order)) == "CANCELED"

    async def test_one_of_which_the_exchange_can_not_be_asked_is_ended_all_the_same(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.tells_single_orders = trader.book.takes_client_ids = False
        assert state(await trader.cancel(order)) == "CANCELED"

    async def test_a_cancel_that_comes_while_somebody_gives_up_asking_is_kept(self, trader: Trader) -> None:
        order = await trader.place(time_in_force=TIME_IN_FORCE_IOC)
        trader.book.hidden = True
        trader.book.fail("order", Fault.HANG)
        await trader.change(order, "next_check_at = now()")
        await trader.bridge.resolving.once()
        await eventually(lambda: "order" in trader.book.asked, "it is asked about")
        trader.book.fail("cancel", Fault.BEFORE)
        trader.book.fail("order", Fault.BEFORE)
        assert await refused(trader, order) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE")
        trader.book.gate.set()
        await eventually(lambda: not trader.bridge.resolving.busy, "it gave up")
        trader.book.hidden = False
        assert state(await trader.look(order)) == "CANCELED"

    async def test_an_unknown_one_is_found_first(self, trader: Trader) -> None:
        trader.book.fail("place", Fault.AFTER)
        order = await trader.place()
        assert state(await trader.cancel(order)) == "CANCELED"
        assert trader.book.asked == ["place", "order", "cancel", "order"]

    async def test_one_that_is_not_found_yet_is_cancelled_as_soon_as_it_is(self, trader: Trader) -> None:
        trader.book.fail("place", Fault.AFTER)
        order = await trader.place()
        trader.book.hidden = True
        assert state(await trader.cancel(order)) == "UNKNOWN"
        trader.book.fail("order", Fault.BEFORE)
        assert state(await trader.cancel(order)) == "UNKNOWN"
        trader.book.hidden = False
        assert state(await trader.look(order)) == "CANCELED"
        assert trader.book.open == []

    async def test_one_that_is_being_sent_is_cancelled_once_it_is_there(self, trader: Trader) -> None:
        trader.book.fail("place", Fault.HANG)
        placing = asyncio.create_task(trader.place())
        await eventually(lambda: "place" in trader.book.asked, "it is sent")
        [order] = await trader.listed()
        assert state(await trader.cancel(order)) == "PENDING"
        trader.book.gate.set()
        assert state(await placing) == "OPEN"
        assert await trader.bridge.resolving.once() == 1
        assert state(await trader.once(order, "CANCELED")) == "CANCELED"

    async def test_a_caller_with_little_time_is_told_and_the_order_is_cancelled_all_the_same(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.fail("cancel", Fault.HANG)
        told = await refused(trader, order, seconds=5)
        assert told == (grpc.StatusCode.DEADLINE_EXCEEDED, "EXCHANGE_TIMEOUT")
        trader.book.gate.set()
        await trader.once(order, "CANCELED")

    async def test_without_its_connector_it_is_left_to_whoever_holds_that(self, trader: Trader) -> None:
        order = await trader.place()
        await trader.bridge.remove(revision=2, account_name=trader.account)
        assert await refused(trader, order) == (grpc.StatusCode.NOT_FOUND, "CONNECTOR_NOT_FOUND")
        assert (await trader.row(order))["cancel_requested_at"] is not None
        await trader.bridge.add("kraken", revision=3, account_name=trader.account)
        await trader.bridge.resolving.once()
        await trader.once(order, "CANCELED")

    async def test_what_is_not_there_or_is_no_id_is_refused(self, trader: Trader) -> None:
        order = await trader.place()
        request = pb.CancelOrderRequest(account_name="somebody_else", order_id=order.order_id)
        told = await refusal(trader.bridge.stub.CancelOrder(request))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")
        told = await refusal(trader.bridge.stub.CancelOrder(pb.CancelOrderRequest(order_id="7")))
        assert list(violations(told)) == ["account_name", "order_id"]


class TestAll:
    """CancelAllOrders."""

    async def test_every_open_order_is_cancelled_and_told(self, trader: Trader) -> None:
        orders = [await trader.place(amount=str(number)) for number in range(1, 31)]
        ended = await trader.place()
        await trader.cancel(ended)
        told = await trader.cancel_all()
        assert [each.order_id for each in told] == [each.order_id for each in orders]
        assert {state(each) for each in told} == {"CANCELED"}
        assert trader.book.open == []

    async def test_filters_leave_the_others_alone(self, trader: Trader) -> None:
        await trader.bridge.stub.AddConnector(connector_request("gate", account_name=trader.account))
        here, there = await trader.place(), await trader.place(connector_name="gate")
        assert await trader.cancel_all(symbol="ETH/USDT") == []
        assert [each.order_id for each in await trader.cancel_all(connector_name="gate")] == [there.order_id]
        assert state(await trader.get(here)) == "OPEN"
        assert [each.order_id for each in await trader.cancel_all(symbol="BTC/USDT")] == [here.order_id]

    async def test_one_that_could_not_be_cancelled_is_shown_as_it_is(self, trader: Trader) -> None:
        for _ in range(3):
            await trader.place()
        trader.book.fail("cancel", Fault.BEFORE)
        states = sorted(state(each) for each in await trader.cancel_all())
        assert states == ["CANCELED", "CANCELED", "OPEN"]

    async def test_one_of_which_is_not_known_in_time_what_its_cancel_came_to_is_told_as_that(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        trader.book.fail("order", Fault.HANG)
        [told] = await trader.cancel_all(seconds=2)
        assert (state(told), told.reason) == ("OPEN", "CANCEL_ACKNOWLEDGED")
        assert await trader.get(order) == told
        row = await trader.row(order)
        assert row["next_check_at"] > row["read_at"]  # whoever asks has it still
        trader.book.gate.set()
        assert (await trader.once(order, "CANCELED")).reason == ""

    async def test_one_whose_cancel_was_not_answered_in_time_is_told_as_open_and_no_more(
        self, trader: Trader
    ) -> None:
        await trader.place()
        trader.book.fail("cancel", Fault.HANG)
        [told] = await trader.cancel_all(seconds=2)
        assert (state(told), told.reason) == ("OPEN", "")
        trader.book.gate.set()

    async def test_one_that_is_still_there_after_its_cancel_was_acknowledged_is_open(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        with mock.patch.object(FakeSession, "cancel"):
            [told] = await trader.cancel_all()
        assert (state(told), told.reason) == ("OPEN", "")
        assert state(await trader.look(order)) == "CANCELED"

    async def test_one_that_had_ended_meanwhile_is_shown_as_it_ended(self, trader: Trader) -> None:
        order = await trader.place()
        trader.book.fill(order.exchange_order_id)
        assert [state(each) for each in await trader.cancel_all()] == ["FILLED"]

    async def test_where_none_could_be_cancelled_the_reason_is_raised(self, trader: Trader) -> None:
        for _ in range(2):
            await trader.place()
        trader.book.fail("cancel", *[Fault.BEFORE] * 2)
        told = await refusal(trader.cancel_all())
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE")

    async def test_an_account_that_nobody_knows_has_none(self, trader: Trader) -> None:
        assert await trader.cancel_all() == []
        request = pb.CancelAllOrdersRequest(account_name="nobody")
        told = await refusal(trader.bridge.stub.CancelAllOrders(request))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
