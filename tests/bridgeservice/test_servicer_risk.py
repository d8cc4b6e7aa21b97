"""Risk rules and kill switches over real sockets, with two replicas of the bridge on one database."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest import mock
from uuid import UUID

import grpc
import pytest
from sqlalchemy import text

from bridgeservice.cancellation import Cancellation
from bridgeservice.exchanges.exchange import Ticker
from bridgeservice.store import accounts
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import ORDER_SIDE_SELL, ORDER_TYPE_MARKET, Order
from bridgeservice.v1.risk_pb2 import RiskRule
from servicekit.database.engine import Connection, Database
from tests.support.bridge_service import connector_request, running
from tests.support.fake_orders import Fault
from tests.support.key_service import refusal, violations
from tests.support.probe import eventually
from tests.support.trading import Trader, state


def rule(kind: str, action: str = "REFUSE", **fields: Any) -> RiskRule:
    return RiskRule(kind=f"RISK_RULE_KIND_{kind}", action=f"RISK_ACTION_{action}", **fields)


async def set_rules(trader: Trader, *rules: RiskRule, connector_name: str = "") -> list[RiskRule]:
    request = pb.SetRiskRulesRequest(account_name=trader.account, connector_name=connector_name, rules=rules)
    return list((await trader.bridge.stub.SetRiskRules(request)).rules)


async def engage(trader: Trader, **fields: Any) -> pb.EngageKillSwitchResponse:
    return await trader.bridge.stub.EngageKillSwitch(
        pb.EngageKillSwitchRequest(account_name=trader.account, **fields)
    )


async def release(trader: Trader, connector_name: str = "") -> None:
    await trader.bridge.stub.ReleaseKillSwitch(
        pb.ReleaseKillSwitchRequest(account_name=trader.account, connector_name=connector_name)
    )


async def in_force(trader: Trader, connector_name: str = "") -> pb.GetRiskRulesResponse:
    return await trader.bridge.stub.GetRiskRules(
        pb.GetRiskRulesRequest(account_name=trader.account, connector_name=connector_name)
    )


def refused(order: Order) -> str:
    """For which reason it was not sent; empty when it was."""
    return order.reason if state(order) == "REJECTED" else ""


async def test_rules_are_replaced_as_a_whole_and_read_back(trader: Trader) -> None:
    both = [
        rule("ALLOWED_SYMBOLS", symbols=["BTC/USDT", "ETH/USDT"]),
        rule("MAX_ORDER_NOTIONAL", "WARN", limit="2500.50", quote_asset="USDT"),
    ]
    assert await set_rules(trader, *both) == both
    assert list((await in_force(trader)).rules) == both
    assert list((await in_force(trader, "kraken")).rules) == []
    [one] = await set_rules(trader, rule("READ_ONLY", "UNSPECIFIED"))
    assert one == rule("READ_ONLY")
    assert await set_rules(trader) == []


@pytest.mark.parametrize(
    ("broken", "changes", "reason"),
    [
        (rule("ALLOWED_SYMBOLS", symbols=["ETH/USDT"]), {}, "SYMBOL_NOT_ALLOWED"),
        (rule("MAX_ORDER_NOTIONAL", limit="50", quote_asset="USDT"), {}, "ORDER_NOTIONAL_EXCEEDED"),
        (rule("MAX_ORDER_NOTIONAL", limit="50", quote_asset="EUR"), {}, "ORDER_NOTIONAL_EXCEEDED"),
        (rule("MAX_DAILY_NOTIONAL", limit="50", quote_asset="USDT"), {}, "DAILY_NOTIONAL_EXCEEDED"),
        (rule("MAX_OPEN_ORDERS", limit="0"), {}, "TOO_MANY_OPEN_ORDERS"),
        (rule("MAX_ORDERS_PER_MINUTE", limit="0"), {}, "TOO_MANY_ORDERS_PER_MINUTE"),
        (rule("READ_ONLY"), {}, "READ_ONLY"),
        (
            rule("MAX_ORDER_NOTIONAL", limit="49.99", quote_asset="USDT"),
            {"type": ORDER_TYPE_MARKET, "price": "", "side": ORDER_SIDE_SELL},
            "ORDER_NOTIONAL_EXCEEDED",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_order_that_breaks_a_rule_is_journalled_with_the_reason_and_not_sent(
    trader: Trader, broken: RiskRule, changes: dict[str, Any], reason: str
) -> None:
    await set_rules(trader, broken)
    order = await trader.place(**changes)
    assert refused(order) == reason
    assert await trader.get(order) == order
    assert not trader.book.asked


async def test_bounds_let_through_what_they_allow(trader: Trader) -> None:
    await set_rules(
        trader,
        rule("ALLOWED_SYMBOLS", symbols=["BTC/USDT"]),
        rule("MAX_ORDER_NOTIONAL", limit="50.050", quote_asset="USDT"),
        rule("MAX_DAILY_NOTIONAL", limit="100.1", quote_asset="USDT"),
        rule("MAX_OPEN_ORDERS", limit="2"),
        rule("MAX_ORDERS_PER_MINUTE", limit="2"),
    )
    assert [refused(await trader.place()) for _ in range(3)][:2] == ["", ""]
    assert len(trader.book.placed) == 2


async def test_a_notional_is_counted_in_another_asset_by_the_exchanges_own_prices(trader: Trader) -> None:
    exchange = trader.bridge.exchanges["kraken"]
    exchange.known_markets |= {
        "USDT/EUR": type(exchange.known_markets["BTC/USDT"])(
            "USDT/EUR", exchange.known_markets["BTC/USDT"].type, "USDT", "EUR"
        )
    }
    exchange.known_tickers["USDT/EUR"] = Ticker("USDT/EUR", last="0.9")
    await set_rules(trader, rule("MAX_ORDER_NOTIONAL", limit="45.045", quote_asset="EUR"))
    assert refused(await trader.place()) == ""
    assert (await trader.row((await trader.listed())[0]))["notionals"] == {"USDT": "50.0500", "EUR": "45.045"}
    assert refused(await trader.place(price="100.11")) == "ORDER_NOTIONAL_EXCEEDED"


async def test_orders_at_once_do_not_slip_past_a_bound_together(trader: Trader) -> None:
    await set_rules(trader, rule("MAX_OPEN_ORDERS", limit="3"))
    orders = await asyncio.gather(*(trader.place() for _ in range(12)))
    assert sorted(refused(each) for each in orders) == [""] * 3 + ["TOO_MANY_OPEN_ORDERS"] * 9
    assert len(trader.book.placed) == 3


async def test_a_warning_sends_the_order(trader: Trader) -> None:
    await set_rules(trader, rule("READ_ONLY", "WARN"))
    assert state(await trader.place()) == "OPEN"


async def test_a_connectors_rules_bound_that_connector_only(trader: Trader) -> None:
    await trader.bridge.stub.AddConnector(connector_request("gate", account_name=trader.account))
    await set_rules(trader, rule("READ_ONLY"), connector_name="gate")
    assert refused(await trader.place()) == ""
    assert refused(await trader.place(connector_name="gate")) == "READ_ONLY"


async def test_a_rule_of_the_account_counts_all_of_its_connectors(trader: Trader) -> None:
    await trader.bridge.stub.AddConnector(connector_request("gate", account_name=trader.account))
    await set_rules(trader, rule("MAX_OPEN_ORDERS", limit="1"))
    assert refused(await trader.place()) == ""
    assert refused(await trader.place(connector_name="gate")) == "TOO_MANY_OPEN_ORDERS"


async def test_a_rule_that_cancels_ends_what_is_open(trader: Trader) -> None:
    before = await trader.place()
    await set_rules(trader, rule("MAX_OPEN_ORDERS", "REFUSE_AND_CANCEL", limit="1"))
    assert refused(await trader.place()) == "TOO_MANY_OPEN_ORDERS"
    await trader.once(before, "CANCELED")


async def test_a_kill_switch_refuses_on_every_replica_and_after_a_restart_until_it_is_released(
    trader: Trader, make_database: Callable[[], Database]
) -> None:
    async with running(database=make_database()) as replica:
        await replica.stub.AddConnector(connector_request("kraken", account_name=trader.account))
        other = Trader(replica, trader.database, trader.account)
        switch = (await engage(trader, reason="the strategy runs wild")).kill_switch
        assert refused(await trader.place()) == "KILL_SWITCH_ENGAGED"
        assert refused(await other.place()) == "KILL_SWITCH_ENGAGED"
        assert list((await in_force(other)).kill_switches) == [switch]
        assert list((await in_force(other, "kraken")).kill_switches) == [switch]
    async with running(database=make_database()) as restarted:
        await restarted.stub.AddConnector(connector_request("kraken", account_name=trader.account))
        again = Trader(restarted, trader.database, trader.account)
        assert refused(await again.place()) == "KILL_SWITCH_ENGAGED"
        await release(again)
        assert state(await again.place()) == "OPEN"


async def test_once_a_kill_switch_is_engaged_nothing_more_is_journalled(trader: Trader) -> None:
    placing = [asyncio.ensure_future(trader.place()) for _ in range(30)]
    await engage(trader)
    sent = len(trader.book.placed)
    orders = await asyncio.gather(*placing)
    let_through = [each for each in orders if not refused(each)]
    assert len(let_through) >= sent
    switch = (await in_force(trader)).kill_switches[0]
    assert all(each.create_time.ToDatetime() <= switch.engage_time.ToDatetime() for each in let_through)


async def test_a_kill_switch_that_waited_for_an_order_is_engaged_after_it(trader: Trader) -> None:
    begun, go_on, hold = asyncio.Event(), asyncio.Event(), accounts.hold

    async def hold_late(connection: Connection, account_name: str) -> UUID:
        if not begun.is_set():  # the first one is the switch's
            await connection.execute(text("SELECT"))  # its transaction has begun
            begun.set()
            await go_on.wait()
        return await hold(connection, account_name)

    with mock.patch.object(accounts, "hold", hold_late):
        engaging = asyncio.ensure_future(engage(trader))
        await begun.wait()
        order = await trader.place()
        go_on.set()
        switch = (await engaging).kill_switch
    assert refused(order) == ""
    assert order.create_time.ToDatetime() <= switch.engage_time.ToDatetime()


async def test_a_kill_switch_cancels_what_is_open_where_that_is_asked_for(trader: Trader) -> None:
    orders = [await trader.place() for _ in range(3)]
    assert list((await engage(trader)).orders) == []
    assert state(await trader.get(orders[0])) == "OPEN"
    canceled = (await engage(trader, cancel_open_orders=True)).orders
    assert {each.order_id for each in canceled} == {each.order_id for each in orders}
    assert {state(each) for each in canceled} == {"CANCELED"}


async def test_what_a_kill_switch_cancels_is_cancelled_also_where_the_bridge_dies_before_it_has_asked(
    trader: Trader,
) -> None:
    orders = [await trader.place() for _ in range(3)]
    gone = asyncio.CancelledError()
    with mock.patch.object(Cancellation, "try_all", side_effect=gone), pytest.raises(grpc.aio.AioRpcError):
        await engage(trader, cancel_open_orders=True)
    assert len(trader.book.open) == 3
    for order in orders:
        await trader.look(order)
    assert {state(await trader.get(order)) for order in orders} == {"CANCELED"}


async def test_what_a_broken_rule_cancels_is_cancelled_also_where_the_bridge_dies_before_it_has_asked(
    trader: Trader,
) -> None:
    before = await trader.place()
    await set_rules(trader, rule("MAX_OPEN_ORDERS", "REFUSE_AND_CANCEL", limit="1"))
    with mock.patch.object(Cancellation, "sweep"):
        assert refused(await trader.place()) == "TOO_MANY_OPEN_ORDERS"
    assert state(await trader.look(before)) == "CANCELED"


async def test_an_order_on_its_way_when_the_switch_is_engaged_is_cancelled_as_soon_as_it_is_known(
    trader: Trader,
) -> None:
    trader.book.fail("place", Fault.HANG)
    placing = asyncio.ensure_future(trader.place())
    await eventually(lambda: "place" in trader.book.asked, "the order is sent")
    await engage(trader, cancel_open_orders=True)
    trader.book.gate.set()
    order = await placing
    await trader.change(order, "next_check_at = now()")
    await trader.bridge.resolving.once()
    await trader.once(order, "CANCELED")


async def test_engaging_twice_keeps_the_time_and_releasing_twice_is_nothing(trader: Trader) -> None:
    first = (await engage(trader, reason="one")).kill_switch
    second = (await engage(trader, reason="two")).kill_switch
    assert (second.engage_time, second.reason) == (first.engage_time, "two")
    await release(trader)
    await release(trader)
    assert list((await in_force(trader)).kill_switches) == []


async def test_new_rules_leave_an_engaged_kill_switch_as_it_is(trader: Trader) -> None:
    await engage(trader)
    await set_rules(trader)
    assert refused(await trader.place()) == "KILL_SWITCH_ENGAGED"


@pytest.mark.parametrize(
    ("field", "rules"),
    [
        ("rules[0].kind", [RiskRule()]),
        ("rules[0].kind", [RiskRule(kind=99)]),  # type: ignore[arg-type]  # a number of a later contract
        ("rules[0].action", [rule("READ_ONLY"), RiskRule(kind=6, action=99)][1:]),  # type: ignore[arg-type]
        ("rules[1].kind", [rule("READ_ONLY"), rule("READ_ONLY", "WARN")]),
        ("rules[0].limit", [rule("MAX_OPEN_ORDERS")]),
        ("rules[0].limit", [rule("MAX_OPEN_ORDERS", limit="1.5")]),
        ("rules[0].limit", [rule("MAX_OPEN_ORDERS", limit="-1")]),
        ("rules[0].limit", [rule("MAX_ORDER_NOTIONAL", limit="1e3", quote_asset="USDT")]),
        ("rules[0].limit", [rule("READ_ONLY", limit="1")]),
        ("rules[0].quote_asset", [rule("MAX_DAILY_NOTIONAL", limit="1")]),
        ("rules[0].quote_asset", [rule("READ_ONLY", quote_asset="USDT")]),
        ("rules[0].symbols", [rule("ALLOWED_SYMBOLS")]),
        ("rules[0].symbols", [rule("READ_ONLY", symbols=["BTC/USDT"])]),
        ("rules[0].symbols[0]", [rule("ALLOWED_SYMBOLS", symbols=["BTC-USDT"])]),
    ],
)
async def test_rules_that_make_no_sense_are_refused_and_named(
    trader: Trader, field: str, rules: list[RiskRule]
) -> None:
    told = await refusal(set_rules(trader, *rules))
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in violations(told)


async def test_without_a_database_there_are_no_rules(database: Database) -> None:
    async with running() as bridge:
        trader = Trader(bridge, database, "client")
        for asked in (set_rules(trader), in_force(trader), engage(trader), release(trader)):
            told = await refusal(asked)
            assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DATABASE_REQUIRED")
