"""The dead man's switch: armed while something is open, and where the exchange has one."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bridgeservice.dead_man import DeadMan
from servicekit.database.engine import Database
from tests.support.fake_orders import Fault
from tests.support.trading import Trader, trading

AFTER, NEVER = timedelta(seconds=60), timedelta(0)


@pytest.fixture
async def trader(database: Database) -> AsyncIterator[Trader]:
    async with trading(database) as trader:
        yield trader


@pytest.fixture
def dead_man(trader: Trader) -> DeadMan:
    return DeadMan(trader.database, trader.bridge.accounts, trader.bridge.sessions, after=AFTER)


async def test_it_is_armed_anew_while_an_order_is_open_and_disarmed_after(
    trader: Trader, dead_man: DeadMan
) -> None:
    await dead_man.once()
    assert trader.book.armed == []
    order = await trader.place()
    await dead_man.once()
    await dead_man.once()
    assert trader.book.armed == [AFTER, AFTER]
    await trader.cancel(order)
    await dead_man.once()
    await dead_man.once()
    assert trader.book.armed == [AFTER, AFTER, NEVER]


async def test_an_exchange_without_one_is_asked_once(trader: Trader, dead_man: DeadMan) -> None:
    trader.book.has_switch = False
    await trader.place()
    for _ in range(3):
        await dead_man.once()
    assert trader.book.asked.count("cancel_all_after") == 1


async def test_one_that_could_not_be_armed_is_armed_at_the_next_turn(
    trader: Trader, dead_man: DeadMan
) -> None:
    await trader.place()
    trader.book.fail("cancel_all_after", Fault.BEFORE)
    await dead_man.once()
    assert trader.book.armed == []
    await dead_man.once()
    assert trader.book.armed == [AFTER]


async def test_a_connector_that_another_bridge_holds_is_left_to_it(trader: Trader, dead_man: DeadMan) -> None:
    await trader.place()
    trader.bridge.accounts.delete(trader.account)
    await dead_man.once()
    assert trader.book.armed == []
