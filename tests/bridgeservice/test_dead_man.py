"""The dead man's switch: armed while something is open, and where the exchange has one."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from unittest import mock
from uuid import uuid4

import pytest

from bridgeservice.dead_man import DeadMan
from servicekit.database.engine import Database
from servicekit.errors import Unavailable
from servicekit.loops import background
from tests.support.bridge_service import connector_request
from tests.support.fake_exchanges import FakeSession
from tests.support.fake_orders import Fault
from tests.support.logged import lines
from tests.support.probe import eventually
from tests.support.trading import Trader, trading

AFTER, NEVER = timedelta(seconds=60), timedelta(0)


@pytest.fixture
async def trader(database: Database) -> AsyncIterator[Trader]:
    async with trading(database) as trader:
        yield trader


@pytest.fixture
def dead_man(trader: Trader) -> DeadMan:
    return DeadMan(trader.database, trader.bridge.accounts, trader.bridge.sessions, after=AFTER)


async def one_round(dead_man: DeadMan) -> None:
    """What is due at one moment, and its end."""
    async with asyncio.TaskGroup() as rounds:
        await dead_man.once(rounds)


async def test_it_is_armed_anew_while_an_order_is_open_and_disarmed_after(
    trader: Trader, dead_man: DeadMan
) -> None:
    await one_round(dead_man)
    assert trader.book.armed == []
    order = await trader.place()
    await one_round(dead_man)
    await one_round(dead_man)
    assert trader.book.armed == [AFTER, AFTER]
    await trader.cancel(order)
    await one_round(dead_man)
    await one_round(dead_man)
    assert trader.book.armed == [AFTER, AFTER, NEVER]


async def another(trader: Trader) -> Trader:
    """Another one on the same bridge, who has something open."""
    other = replace(trader, account=f"client_{uuid4()}")
    await trader.bridge.stub.AddConnector(connector_request(trader.connector, account_name=other.account))
    await other.place()
    return other


async def test_of_an_exchange_few_are_armed_at_once_so_that_orders_do_not_wait_for_many(
    trader: Trader, dead_man: DeadMan
) -> None:
    for _ in range(5):
        await another(trader)
    trader.book.fail("cancel_all_after", *[Fault.HANG] * 5)
    arming = asyncio.create_task(one_round(dead_man))
    await eventually(lambda: trader.book.asked.count("cancel_all_after") == 2, "two are being armed")
    await another(trader)  # while the exchange does other things
    assert trader.book.asked.count("cancel_all_after") == 2
    trader.book.gate.set()
    await arming
    assert trader.book.armed == [AFTER] * 5


async def test_who_was_left_out_is_the_first_the_next_time(trader: Trader, dead_man: DeadMan) -> None:
    asked: list[str] = []

    async def fail_for_the_third(session: FakeSession, _: timedelta) -> None:
        asked.append(session.owner.account_name)
        if len(asked) == 3:
            raise Unavailable("It cannot be reached now.", reason="EXCHANGE_UNAVAILABLE")

    for _ in range(3):
        await another(trader)
    with mock.patch.object(FakeSession, "cancel_all_after", fail_for_the_third):
        await one_round(dead_man)
        await one_round(dead_man)
    assert asked[3] == asked[2]
    assert len(set(asked)) == 3


async def test_an_exchange_that_does_not_answer_keeps_no_other_one_from_being_armed_in_time(
    trader: Trader,
) -> None:
    there = replace(trader, account=f"client_{uuid4()}", connector="gate")
    await trader.bridge.stub.AddConnector(connector_request("gate", account_name=there.account))
    for _ in range(3):
        await another(trader)
    await there.place()
    trader.book.fail("cancel_all_after", *[Fault.HANG] * 3)
    often = timedelta(seconds=0.3)
    async with background(
        DeadMan(trader.database, trader.bridge.accounts, trader.bridge.sessions, after=often).run
    ):
        await eventually(lambda: len(there.book.armed) >= 5, "it is armed again and again")
        assert trader.book.asked.count("cancel_all_after") == 2


async def test_a_round_that_takes_too_long_is_followed_at_once_by_one_and_by_no_more(
    trader: Trader, dead_man: DeadMan
) -> None:
    await trader.place()
    trader.book.fail("cancel_all_after", Fault.HANG)
    async with asyncio.TaskGroup() as rounds:
        await dead_man.once(rounds)
        await eventually(lambda: "cancel_all_after" in trader.book.asked, "it is being armed")
        await another(trader)
        for _ in range(3):
            await dead_man.once(rounds)
        trader.book.gate.set()
    assert trader.book.armed == [AFTER] * 3


async def test_the_order_of_a_round_is_that_of_its_beginning_and_not_of_the_moment_when_it_came_due(
    trader: Trader, dead_man: DeadMan
) -> None:
    asked: list[str] = []

    async def fail_for_two(session: FakeSession, _: timedelta) -> None:
        asked.append(session.owner.account_name)
        number = len(asked)
        if number == 4:
            await came_due.wait()
        if number == 5:
            await dead_man.once(rounds)
            came_due.set()
        if number in {4, 6}:
            raise Unavailable("It cannot be reached now.", reason="EXCHANGE_UNAVAILABLE")

    came_due = asyncio.Event()
    for _ in range(3):
        await another(trader)
    with mock.patch.object(FakeSession, "cancel_all_after", fail_for_two):
        for _ in range(2):
            async with asyncio.TaskGroup() as rounds:
                await dead_man.once(rounds)
    first, second, third = asked[:3]
    assert asked[3:] == [first, second, third, first, third, second]


async def test_with_its_end_nothing_is_under_way_any_more(trader: Trader, dead_man: DeadMan) -> None:
    left: list[str] = []

    async def hang(session: FakeSession, _: timedelta) -> None:
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.append(session.owner.account_name)

    under_way = asyncio.Event()
    await trader.place()
    with mock.patch.object(FakeSession, "cancel_all_after", hang):
        async with background(dead_man.run):
            await asyncio.wait_for(under_way.wait(), 20)
    assert left == [trader.account]


async def test_what_nobody_foresaw_at_an_exchange_is_logged_once_and_the_next_round_comes(
    trader: Trader, dead_man: DeadMan, output: io.StringIO
) -> None:
    await trader.place()
    await another(trader)
    trader.book.fail("cancel_all_after", Fault.STUMBLE)
    await one_round(dead_man)
    assert trader.book.armed == [AFTER]
    [told] = [line for line in lines(output) if line["level"] == "error"]
    assert (told["exchange"], told["event"]) == (
        trader.connector,
        "unforeseen error in setting a dead man's switch",
    )
    await one_round(dead_man)
    assert trader.book.armed == [AFTER] * 3


async def test_that_there_are_too_many_to_be_armed_in_time_is_in_the_log(
    trader: Trader, output: io.StringIO
) -> None:
    await trader.place()
    hasty = DeadMan(
        trader.database, trader.bridge.accounts, trader.bridge.sessions, after=timedelta(microseconds=3)
    )
    await one_round(hasty)
    [warning] = [line for line in lines(output) if line["event"].startswith("dead man's switches can't")]
    assert (warning["level"], warning["exchange"], warning["connectors"]) == ("warning", trader.connector, 1)


async def test_an_exchange_without_one_is_asked_once(trader: Trader, dead_man: DeadMan) -> None:
    trader.book.has_switch = False
    await trader.place()
    for _ in range(3):
        await one_round(dead_man)
    assert trader.book.asked.count("cancel_all_after") == 1


async def test_one_that_could_not_be_armed_is_armed_at_the_next_turn(
    trader: Trader, dead_man: DeadMan
) -> None:
    await trader.place()
    trader.book.fail("cancel_all_after", Fault.BEFORE)
    await one_round(dead_man)
    assert trader.book.armed == []
    await one_round(dead_man)
    assert trader.book.armed == [AFTER]


async def test_a_connector_that_another_bridge_holds_is_left_to_it(trader: Trader, dead_man: DeadMan) -> None:
    await trader.place()
    trader.bridge.accounts.delete(trader.account)
    await one_round(dead_man)
    assert trader.book.armed == []
