"""A database at head, and a Database object in front of it."""

from collections.abc import AsyncIterator, Callable

import pytest

from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl


@pytest.fixture
async def make_database(database_url: DatabaseUrl) -> AsyncIterator[Callable[[], Database]]:
    """Makes one more Database, as another replica would have it, and closes it afterwards."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(DatabaseOptions(url=database_url, pool_size=10)))
        return made[-1]

    yield make
    for database in made:
        await database.close()


@pytest.fixture
def database(make_database: Callable[[], Database]) -> Database:
    return make_database()
