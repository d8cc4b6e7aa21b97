"""The moments at which the bridge is killed: each is reached for sure, and seen to be, before the kill."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

from sqlalchemy import text

from servicekit.database.engine import Database
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import Simulator

PATIENCE = 60.0
PLACES = {"binance": "/api/v3/order", "kraken": "/0/private/AddOrder"}
"""Where orders are sent to."""


class Moment(Enum):
    """How far one order at least has come when the bridge is killed."""

    ANY = "any"
    BEFORE_JOURNAL = "before the journal's commit"
    BEFORE_EXCHANGE = "after the journal's commit, and the exchange never acts"
    LATE_ARRIVAL = "after it was sent, and the exchange acts later"
    BEFORE_ANSWER = "after the exchange acted, before it answered"
    BEFORE_OUTCOME = "after the exchange answered, before the outcome's commit"


class Moments:
    """Brings them about."""

    def __init__(self, simulator: Simulator, database: Database) -> None:
        self._simulator = simulator
        self._database = database

    @asynccontextmanager
    async def reached(self, moment: Moment, exchange: str, pause: float) -> AsyncIterator[None]:
        """It is reached in the block; what held the order there lets go after it."""
        match moment:
            case Moment.ANY:
                await asyncio.sleep(pause)
                yield
            case Moment.BEFORE_JOURNAL:
                async with self._locked():
                    await self._until_waiting("INSERT INTO bridge.orders")
                    yield
            case Moment.BEFORE_EXCHANGE:
                async with self._held(FaultKind.HANG, exchange):
                    yield
            case Moment.LATE_ARRIVAL:
                async with self._held(FaultKind.HOLD, exchange):
                    yield
            case Moment.BEFORE_ANSWER:
                async with self._held(FaultKind.HOLD_AFTER_ACTING, exchange):
                    yield
            case Moment.BEFORE_OUTCOME:
                async with self._held(FaultKind.HOLD_AFTER_ACTING, exchange), self._locked():
                    self._simulator.faults[exchange].clear()
                    await self._until_waiting("UPDATE bridge.orders")
                    yield

    @asynccontextmanager
    async def _held(self, kind: FaultKind, exchange: str) -> AsyncIterator[None]:
        """An order has arrived at the exchange, and gets no answer."""
        seen, path = self._simulator.seen, PLACES[exchange]
        before = seen.count(exchange, path, "POST")
        self._simulator.faults[exchange].add(kind, path=path)
        try:
            async with asyncio.timeout(PATIENCE):
                await seen.until(before + 1, exchange, path, "POST")
            yield
        finally:
            self._simulator.faults[exchange].clear()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Nobody writes into the journal. What a dead process had asked for is not done when it is let go."""
        async with self._database.transaction() as connection:
            await connection.execute(text("LOCK TABLE bridge.orders IN SHARE MODE"))
            yield
            await connection.execute(text(_END_WAITING))

    async def _until_waiting(self, statement: str) -> None:
        until = time.monotonic() + PATIENCE
        while not await self._waits(statement):
            assert time.monotonic() < until, f"nobody waits with {statement}, but: {await self._under_way()}"
            await asyncio.sleep(0.005)

    async def _under_way(self) -> list[str]:
        async with self._database.autocommit() as connection:
            return [" ".join(map(str, row)) for row in await connection.execute(text(_UNDER_WAY))]

    async def _waits(self, statement: str) -> bool:
        async with self._database.autocommit() as connection:
            waiting = text(f"SELECT EXISTS (SELECT {_WAITING} AND query LIKE :statement || '%')")
            return bool((await connection.execute(waiting, {"statement": statement})).scalar_one())


_WAITING = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
_UNDER_WAY = (
    "SELECT state, wait_event_type, wait_event, left(query, 60) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_END_WAITING = f"SELECT pg_terminate_backend(pid) {_WAITING}"
