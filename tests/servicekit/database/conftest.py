"""A database with the sample tables in it, and a Database object in front of it."""

from collections.abc import AsyncIterator, Callable

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
