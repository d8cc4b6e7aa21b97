"""Databases at head, one for a test or one for all, Database objects in front of them, and who trades on a bridge."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl, parse_url
from tests.support.postgres import ThrowAwayPostgres
from tests.support.trading import Trader, trading


@pytest.fixture(scope="session")
def shared_database_url(postgres_server: ThrowAwayPostgres, migrated_template: str) -> Iterator[DatabaseUrl]:
    """One for all tests that keep to rows of their own, which saves making one for each."""
    postgres_server.sql(f"CREATE DATABASE shared TEMPLATE {migrated_template} STRATEGY file_copy")
    yield parse_url(postgres_server.url("shared"))
    postgres_server.sql("DROP DATABASE shared WITH (FORCE)")


@pytest.fixture
async def make_database(shared_database_url: DatabaseUrl) -> AsyncIterator[Callable[[], Database]]:
    """Makes one more Database on the shared one, as another replica would have it, and closes it afterwards."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(DatabaseOptions(url=shared_database_url, pool_size=10)))
        return made[-1]

    yield make
    for database in made:
        await database.close()


@pytest.fixture
def database(make_database: Callable[[], Database]) -> Database:
    return make_database()


@pytest.fixture
async def trader(database: Database) -> AsyncIterator[Trader]:
    """On an exchange that takes client order ids."""
    async with trading(database) as trader:
        yield trader
