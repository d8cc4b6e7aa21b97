"""A database with the sample tables in it, and a Database object in front of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from servicekit.database.engine import Database
from servicekit.database.errors import Conflict
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from tests.support.tables import Sample

CONFLICTS = {"uq_things_secret_live": Conflict("SECRET_TAKEN", "Such a thing is there already.")}


@pytest.fixture
async def make_database(database_url: DatabaseUrl) -> AsyncIterator[Callable[..., Database]]:
    """Makes a Database with the options that the test names, and closes it afterwards."""
    made: list[Database] = []

    def make(**options: object) -> Database:
        database = Database(DatabaseOptions(**{"url": database_url, **options}), CONFLICTS)  # type: ignore[arg-type]  # by name
        made.append(database)
        return database

    yield make
    for database in made:
        await database.close()


@pytest.fixture
async def database(make_database: Callable[..., Database]) -> Database:
    """With the sample tables, made from their models."""
    database = make_database()
    async with database.transaction() as connection:
        await connection.run_sync(Sample.metadata.create_all)
    return database


@pytest.fixture
async def run_out(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the time run out that the driver waits for an answer, where its statements may take an hour and more.

    It sets a clock for each statement, which means nothing any more once there is an answer.
    """
    loop = asyncio.get_running_loop()
    call_later, clocks = loop.call_later, list[Callable[[], object]]()

    def noted(delay: float, ring: Callable[..., object], *args: Any, **named: Any) -> asyncio.TimerHandle:
        if delay > timedelta(hours=1).total_seconds():
            clocks.append(partial(ring, *args))
        return call_later(delay, ring, *args, **named)

    monkeypatch.setattr(loop, "call_later", noted)

    def run_out() -> None:
        assert clocks, "nothing bounds the wait"
        for ring in clocks:
            ring()

    return run_out
