"""Sending an order: what is surely not placed is told apart from what may be, whatever fails on the way."""

import asyncio
import io
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any
from unittest import mock

import pytest
from prometheus_client import generate_latest

from bridgeservice import sending
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.precedence import go_first
from bridgeservice.store import orders as store
from servicekit.database.engine import Database
from servicekit.errors import Unavailable
from tests.support.fake_orders import Fault
from tests.support.trading import Trader, state, trading


@pytest.fixture
async def trader(database: Database, output: io.StringIO) -> AsyncIterator[Trader]:
    """It logs into ``output``."""
    async with trading(database) as trader:
        yield trader


async def test_an_order_that_was_held_up_after_it_was_journalled_is_not_sent(trader: Trader) -> None:
    """Somebody else may have asked for it meanwhile, and not found it."""
    with mock.patch.object(sending, "monotonic", return_value=monotonic() + 60):
        order = await trader.place()
    assert (state(order), order.reason) == ("REJECTED", "NOT_SENT")
    assert trader.book.asked == []


async def test_an_order_for_which_the_exchange_has_no_room_is_surely_not_placed(database: Database) -> None:
    async with trading(database, most_at_once=1) as trader:
        taken, left = asyncio.Event(), asyncio.Event()
        add = store.add

        async def another_order() -> None:
            go_first()
            async with trader.bridge.calls.to("kraken", Environment.LIVE):
                taken.set()
                await left.wait()

        async def take_the_only_place(*arguments: Any, **named: Any) -> Any:
            added = await add(*arguments, **named)
            others.append(asyncio.create_task(another_order()))
            await taken.wait()
            return added

        others: list[asyncio.Task[None]] = []
        with mock.patch.object(store, "add", take_the_only_place):
            order = await trader.place()
        assert (state(order), order.reason) == ("REJECTED", "EXCHANGE_BUSY")
        assert trader.book.asked == []
        left.set()
        await asyncio.gather(*others)


async def test_an_outcome_that_cannot_be_written_is_found_out_later(trader: Trader) -> None:
    failure = Unavailable("The database can't be reached.", reason="DATABASE_UNAVAILABLE")
    with mock.patch.object(store, "write", side_effect=failure):
        order = await trader.place()
    assert state(order) == "PENDING"
    await trader.change(order, "next_check_at = now()")
    found = await trader.look(order)
    assert (state(found), found.exchange_order_id) == ("OPEN", "1")
    assert trader.book.asked.count("place") == 1


async def test_orders_are_counted_by_what_became_of_them_and_those_unknown_are_logged(
    trader: Trader, output: io.StringIO
) -> None:
    await trader.place()
    trader.book.fail("place", Fault.AFTER)
    order = await trader.place()
    await trader.look(order)
    told = generate_latest(trader.bridge.registry).decode()
    assert 'bridgeservice_orders_total{exchange="kraken",reason="",state="open"} 1.0' in told
    assert (
        'bridgeservice_orders_total{exchange="kraken",reason="EXCHANGE_TIMEOUT",state="unknown"} 1.0' in told
    )
    assert 'bridgeservice_orders_resolved_total{exchange="kraken",reason="",state="open"} 1.0' in told
    [line] = [each for each in output.getvalue().splitlines() if "not known what became" in each]
    assert order.order_id in line
    assert "EXCHANGE_TIMEOUT" in line
