"""A server of one's own with a database of the size that a figure is about."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from tests.support.postgres import ThrowAwayPostgres


@contextmanager
def filled_server(name: str, fill: str, *tables: str) -> Iterator[ThrowAwayPostgres]:
    """With the database of this name: migrated, filled, and what its planner knows of the tables up to date."""
    server = ThrowAwayPostgres()
    try:
        server.start()
        server.sql(f"CREATE DATABASE {name}")
        asyncio.run(migrate.upgrade(parse_url(server.url(name))))
        server.sql(fill, name)
        server.sql(f"VACUUM (ANALYZE) {', '.join(tables)}", name)
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def one_connection(server: ThrowAwayPostgres, name: str) -> AsyncIterator[Database]:
    """That database, over one connection."""
    database = Database(DatabaseOptions(url=parse_url(server.url(name)), pool_size=1))
    yield database
    await database.close()
