"""A database with the tables of KeyService in it, Database objects in front of it, and a bridge."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from keyservice import models
from keyservice.breaker import Breaker
from servicekit.database.engine import Database
from servicekit.database.models import Base
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from tests.support.bridges import RunningBridge, running_bridge
from tests.support.key_service import KeyService

assert models.EncryptionKey.metadata is Base.metadata
# The bridge's are there too where a test before has imported them.
KEY_TABLES = [table for table in Base.metadata.sorted_tables if table.schema is None]


@pytest.fixture
async def key_database_url(empty_database_url: DatabaseUrl) -> DatabaseUrl:
    """KeyService's tables, made from the models."""
    database = Database(DatabaseOptions(url=empty_database_url, pool_size=1))
    async with database.transaction() as connection:
        await connection.run_sync(Base.metadata.create_all, tables=KEY_TABLES)
    await database.close()
    return empty_database_url


@pytest.fixture
async def make_database(key_database_url: DatabaseUrl) -> AsyncIterator[Callable[[], Database]]:
    """Makes one more Database, as another replica would have it, and closes it afterwards."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(DatabaseOptions(url=key_database_url)))
        return made[-1]

    yield make
    for database in made:
        await database.close()


@pytest.fixture
def database(make_database: Callable[[], Database]) -> Database:
    return make_database()


@pytest.fixture
async def bridge() -> AsyncIterator[RunningBridge]:
    async with running_bridge() as bridge:
        yield bridge


@pytest.fixture
def breaker(service: KeyService, monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """One that stays as a test makes it."""
    breaker = Breaker(pause=timedelta(hours=1))
    monkeypatch.setattr(service.bridge, "_breaker", breaker)
    return breaker
