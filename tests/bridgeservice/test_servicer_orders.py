"""Orders over a real socket: journalled before they are sent, sent once, and told as they are."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import grpc
import pytest

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import (
    ORDER_SIDE_SELL,
    ORDER_TYPE_MARKET,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
)
from servicekit.database.engine import Database
from tests.support.bridge_service import running
from tests.support.fake_orders import Fault
from tests.support.key_service import refusal, violations
from tests.support.probe import eventually
from tests.support.trading import Trader, state, trading

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_an_order_is_told_as_the_exchange_took_it(trader: Trader) -> None:
    order = await trader.place()
    assert state(order) == "OPEN"
    assert (order.account_name, order.connector_name) == (trader.account, "kraken")
    assert (order.symbol, order.amount, order.price) == ("BTC/USDT", "0.50", "100.10")
    assert (order.filled, order.remaining, order.average_price, order.cost) == ("0", "0.50", "", "")
    assert order.time_in_force == TIME_IN_FORCE_GTC
    assert not order.external
    [placed] = trader.book.placed.values()
    assert (order.exchange_order_id, order.client_order_id) == (placed.id, placed.client_order_id)
    assert placed.client_order_id == f"kb{order.order_id.replace('-', '')}"
    assert order.create_time.ToDatetime() <= order.update_time.ToDatetime()
    assert await trader.get(order) == order
    assert (await trader.row(order))["next_check_at"] is None


async def test_what_is_filled_at_once_is_told_with_its_price_and_cost(trader: Trader) -> None:
    trader.book.fills_at_once = True
    order = await trader.place(type=ORDER_TYPE_MARKET, price="", side=ORDER_SIDE_SELL)
    assert state(order) == "FILLED"
    assert (order.filled, order.remaining, order.average_price, order.cost) == (
        "0.50",
        "0.00",
        "100",
        "50.00",
    )
    assert order.price == ""


async def test_an_order_is_in_the_journal_before_the_exchange_hears_of_it(trader: Trader) -> None:
    trader.book.fail("place", Fault.HANG)
    placing = asyncio.create_task(trader.place())
    await eventually(lambda: "place" in trader.book.asked, "the order is sent")
    [order] = await trader.listed()
    assert state(order) == "PENDING"
    assert (order.filled, order.remaining) == ("", "")
    assert (await trader.row(order))["next_check_at"] is not None
    trader.book.gate.set()
    assert state(await placing) == "OPEN"


async def test_a_refusal_is_an_answer_and_is_remembered(trader: Trader) -> None:
    trader.book.fail("place", Fault.REFUSE)
    order = await trader.place()
    assert (state(order), order.reason) == ("REJECTED", "INSUFFICIENT_FUNDS")
    assert await trader.listed() == [order]
    assert trader.book.placed == {}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.BEFORE, "EXCHANGE_UNAVAILABLE"),
        (Fault.AFTER, "EXCHANGE_TIMEOUT"),
        (Fault.STUMBLE, "INTERNAL"),
    ],
)
async def test_whatever_is_raised_leaves_open_whether_the_order_was_placed(
    trader: Trader, fault: Fault, reason: str
) -> None:
    trader.book.fail("place", fault)
    order = await trader.place()
    assert (state(order), order.reason) == ("UNKNOWN", reason)
    assert trader.book.asked == ["place"]


async def test_a_caller_with_little_time_hears_that_the_order_is_pending_and_loses_nothing(
    trader: Trader,
) -> None:
    trader.book.fail("place", Fault.HANG)
    order = await trader.place(seconds=5)
    assert state(order) == "PENDING"
    trader.book.gate.set()
    assert state(await trader.once(order, "OPEN")) == "OPEN"


async def test_the_outcome_of_an_order_is_kept_when_its_caller_goes_away(trader: Trader) -> None:
    trader.book.fail("place", Fault.HANG)
    call = trader.bridge.stub.PlaceOrder(trader.request())
    await eventually(lambda: "place" in trader.book.asked, "the order is sent")
    call.cancel()
    await eventually(lambda: trader.bridge.under_way == 0, "the call has ended")
    trader.book.gate.set()
    [order] = await trader.listed()
    assert (await trader.once(order, "OPEN")).exchange_order_id == "1"


class TestRepetition:
    """A request id, which is unique within the account."""

    async def test_fifty_calls_at_once_make_one_order(self, trader: Trader) -> None:
        request = trader.request(request_id=str(uuid4()))
        answers = await asyncio.gather(*(trader.bridge.stub.PlaceOrder(request) for _ in range(50)))
        assert len({answer.order.order_id for answer in answers}) == 1
        assert len(trader.book.placed) == 1
        assert trader.book.asked == ["place"]

    async def test_a_repetition_tells_the_order_as_it_is_now(self, trader: Trader) -> None:
        request_id = str(uuid4())
        order = await trader.place(request_id=request_id)
        assert await trader.place(request_id=request_id) == order
        await trader.change(order, "state = 'filled', filled = amount")
        again = await trader.place(request_id=request_id)
        assert (again.order_id, state(again)) == (order.order_id, "FILLED")

    async def test_it_is_answered_also_when_the_connector_is_gone(self, trader: Trader) -> None:
        request_id = str(uuid4())
        order = await trader.place(request_id=request_id)
        await trader.bridge.remove(revision=2, account_name=trader.account)
        assert await trader.place(request_id=request_id) == order
        told = await refusal(trader.bridge.stub.PlaceOrder(trader.request(request_id=str(uuid4()))))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CONNECTOR_NOT_FOUND")

    @pytest.mark.parametrize("change", [{"amount": "0.51"}, {"amount": "0.5"}, {"side": ORDER_SIDE_SELL}])
    async def test_another_order_under_it_is_refused(self, trader: Trader, change: dict[str, Any]) -> None:
        request_id = str(uuid4())
        await trader.place(request_id=request_id)
        told = await refusal(trader.bridge.stub.PlaceOrder(trader.request(request_id=request_id, **change)))
        assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert len(trader.book.placed) == 1

    async def test_without_one_every_call_is_a_new_order(self, trader: Trader) -> None:
        orders = [await trader.place() for _ in range(2)]
        assert orders[0].order_id != orders[1].order_id
        assert len(trader.book.placed) == 2


class TestWhatIsRefused:
    """Before anything is journalled or sent."""

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"account_name": ""}, "account_name"),
            ({"connector_name": ""}, "connector_name"),
            ({"symbol": ""}, "symbol"),
            ({"symbol": "BTC-USDT"}, "symbol"),
            ({"symbol": "BTC/USDX"}, "symbol"),
            ({"side": 0}, "side"),
            ({"side": 9}, "side"),
            ({"type": 0}, "type"),
            ({"time_in_force": 9}, "time_in_force"),
            ({"type": ORDER_TYPE_MARKET, "price": "", "time_in_force": TIME_IN_FORCE_GTC}, "time_in_force"),
            ({"type": ORDER_TYPE_MARKET, "price": "", "post_only": True}, "post_only"),
            ({"type": ORDER_TYPE_MARKET}, "price"),
            ({"price": ""}, "price"),
            ({"amount": "1e3"}, "amount"),
            ({"amount": "-1"}, "amount"),
            ({"post_only": True, "time_in_force": TIME_IN_FORCE_IOC}, "post_only"),
            ({"post_only": True, "time_in_force": TIME_IN_FORCE_FOK}, "post_only"),
            ({"reduce_only": True}, "reduce_only"),
            ({"request_id": "mine"}, "request_id"),
            ({"params": {"leverage": "100"}}, "params[leverage]"),
        ],
    )
    async def test_by_its_field(self, trader: Trader, changes: dict[str, Any], field: str) -> None:
        told = await refusal(trader.bridge.stub.PlaceOrder(trader.request(**changes)))
        assert told.code == INVALID
        assert list(violations(told)) == [field]
        assert trader.book.asked == []
        assert await trader.listed() == []

    async def test_params_that_the_settings_allow_are_sent(self, database: Database) -> None:
        async with trading(database, order_params=("stopPrice",)) as trader:
            assert state(await trader.place(params={"stopPrice": "90"})) == "OPEN"
            assert state(await trader.place(params={"stopPrice": "9" * 256})) == "OPEN"
            told = await refusal(trader.place(params={"stopPrice": "9" * 257}))
            assert (told.code, list(violations(told))) == (INVALID, ["params"])


async def test_without_a_database_every_use_of_orders_says_so_and_balances_are_served() -> None:
    async with running() as bridge:
        await bridge.add()
        trader = Trader(bridge, None, "client_of_this_test")  # type: ignore[arg-type]  # it has none
        order_id, account = str(uuid4()), trader.account
        calls: list[Awaitable[object]] = [
            bridge.stub.PlaceOrder(trader.request()),
            bridge.stub.GetOrder(pb.GetOrderRequest(account_name=account, order_id=order_id)),
            bridge.stub.ListOrders(pb.ListOrdersRequest(account_name=account)),
            bridge.stub.CancelOrder(pb.CancelOrderRequest(account_name=account, order_id=order_id)),
            bridge.stub.CancelAllOrders(pb.CancelAllOrdersRequest(account_name=account)),
        ]
        for call in calls:
            told = await refusal(call)
            assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DATABASE_REQUIRED")
        assert trader.book.asked == []
        assert (await bridge.holding()).balances[0].asset == "BTC"


class TestReading:
    """Lists and single orders, from the journal."""

    async def test_the_newest_come_first_page_by_page(self, trader: Trader) -> None:
        orders = [await trader.place(amount=str(number)) for number in range(1, 6)]
        seen, token = [], ""
        while True:
            page = await trader.page(page_size=2, page_token=token)
            seen += [order.order_id for order in page.orders]
            token = page.next_page_token
            if not token:
                break
            assert len(page.orders) == 2
        assert seen == [order.order_id for order in reversed(orders)]

    async def test_filters_select_by_connector_by_market_and_what_is_open(self, trader: Trader) -> None:
        first, ended = await trader.place(), await trader.place()
        await trader.change(ended, "state = 'canceled'")
        assert await trader.listed(open_only=True) == [first]
        assert await trader.listed(symbol="ETH/USDT") == []
        assert len(await trader.listed(symbol="BTC/USDT", connector_name="kraken")) == 2
        assert await trader.listed(connector_name="gate") == []

    async def test_deleted_orders_are_out_of_sight_and_can_come_back(self, trader: Trader) -> None:
        order = await trader.place()
        await trader.change(order, "is_deleted = true, deleted_at = now()")
        assert await trader.listed() == []
        told = await refusal(trader.get(order))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")
        await trader.change(order, "is_deleted = false, deleted_at = NULL")
        assert [each.order_id for each in await trader.listed()] == [order.order_id]

    async def test_another_accounts_order_looks_like_none(self, trader: Trader) -> None:
        order = await trader.place()
        for account, order_id in (("somebody_else", order.order_id), (trader.account, str(uuid4()))):
            request = pb.GetOrderRequest(account_name=account, order_id=order_id)
            told = await refusal(trader.bridge.stub.GetOrder(request))
            assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")

    async def test_an_account_without_orders_has_an_empty_list_and_an_unknown_one_has_none(
        self, trader: Trader
    ) -> None:
        assert await trader.listed() == []
        request = pb.ListOrdersRequest(account_name="nobody")
        told = await refusal(trader.bridge.stub.ListOrders(request))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")

    async def test_orders_can_be_read_of_an_account_that_the_bridge_does_not_hold_yet(
        self, trader: Trader
    ) -> None:
        order = await trader.place()
        await trader.bridge.stub.DeleteAccount(pb.DeleteAccountRequest(account_name=trader.account))
        assert await trader.get(order) == order
        assert await trader.listed() == [order]
        assert await trader.listed(symbol="ETH/USDT") == []
