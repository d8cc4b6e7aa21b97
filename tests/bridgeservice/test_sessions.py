"""Sessions: one for each connector, made when it is used, and closed only when nobody uses it."""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import Environment, Owner
from bridgeservice.records import Connector, Reading
from bridgeservice.sessions import Sessions
from servicekit.credentials import Credentials
from servicekit.errors import NotFound, Unavailable
from tests.support.fake_exchanges import FakeExchange, FakeExchanges


def connector(reading: Reading | None = None) -> Connector:
    return Connector("a", "kraken", "kraken", Environment.LIVE, Credentials(), 1, reading=reading)


@asynccontextmanager
async def opened(
    idle: timedelta = timedelta(0),
) -> AsyncIterator[tuple[Sessions, FakeExchanges, FakeExchange]]:
    exchanges = FakeExchanges()
    sessions = Sessions(ExchangeCalls(exchanges, timeout=timedelta(seconds=20), most_at_once=10), idle=idle)
    yield sessions, exchanges, exchanges["kraken"]
    await sessions.close()
    assert all(session.closed for session in exchanges["kraken"].sessions)


async def test_calls_share_the_session_that_the_first_one_made() -> None:
    async with opened() as (sessions, _, exchange):
        one = connector()
        async with sessions.of(one) as first, sessions.of(one) as second:
            assert first is second
        async with sessions.of(one) as third:
            assert third is first
        [session] = exchange.sessions
        assert session.owner == Owner("a", "kraken")


async def test_those_who_wait_for_the_exchange_together_make_one_session() -> None:
    async with opened() as (sessions, exchanges, exchange):
        exchanges.loading = loading = asyncio.Event()
        one = connector()

        async def use() -> None:
            async with sessions.of(one) as session:
                await session.balances()

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(use())
            await asyncio.sleep(0)
            loading.set()
        assert len(exchange.sessions) == 1


async def test_an_idle_session_is_closed_and_its_figures_are_dropped() -> None:
    async with opened() as (sessions, _, exchange):
        one = connector(Reading((), datetime.now(UTC), 0.0))
        async with sessions.of(one):
            assert sessions.rest_idle() == 0
        assert sessions.rest_idle() == 1
        assert one.reading is None
        async with sessions.of(one):
            assert len(exchange.sessions) == 2


async def test_one_that_was_used_lately_stays() -> None:
    async with opened(timedelta(hours=1)) as (sessions, _, exchange):
        async with sessions.of(connector()):
            pass
        assert sessions.rest_idle() == 0
        assert not exchange.sessions[0].closed


async def test_a_retired_connector_is_closed_by_the_last_who_uses_it() -> None:
    async with opened() as (sessions, _, exchange):
        one = connector()
        async with sessions.of(one):
            async with sessions.of(one):
                sessions.retire(one)
            await asyncio.sleep(0)
            assert not exchange.sessions[0].closed
        await asyncio.sleep(0)
        assert exchange.sessions[0].closed


async def test_a_connector_retired_before_its_call_began_leaves_nothing_open() -> None:
    async with opened(timedelta(hours=1)) as (sessions, _, exchange):
        one = connector()
        sessions.retire(one)
        async with sessions.of(one):
            pass
        await asyncio.sleep(0)
        assert exchange.sessions[0].closed


async def test_an_exchange_that_cannot_be_had_leaves_no_trace() -> None:
    async with opened(timedelta(hours=1)) as (sessions, exchanges, _):
        exchanges.error = NotFound("no such exchange")
        with pytest.raises(NotFound):
            async with sessions.of(connector()):
                pass
        assert sessions.open_count == 0


async def test_a_session_that_does_not_close_well_is_told_and_harms_nobody(output: io.StringIO) -> None:
    async with opened() as (sessions, _, exchange):
        one = connector()
        async with sessions.of(one):
            exchange.sessions[0].close_error = Unavailable("no", reason="EXCHANGE_UNAVAILABLE")
        sessions.retire(one)
    assert "a session did not close well" in output.getvalue()


async def test_a_session_that_raises_what_nobody_foresaw_does_not_keep_the_bridge_from_closing(
    output: io.StringIO,
) -> None:
    secret = secrets.token_hex(8)
    async with opened() as (sessions, _, exchange):
        async with sessions.of(connector()), sessions.of(connector()):
            exchange.sessions[0].close_error = RuntimeError(secret)
        await sessions.close()
        assert all(each.closed for each in exchange.sessions)
    assert "unforeseen error in closing a session" in output.getvalue()
    assert secret not in output.getvalue()
