"""NOTIFY and LISTEN: words between all who share a database, over a connection that does nothing else.

A word that is spoken while the connection is away is lost: whoever listens looks for himself when it is there again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

from servicekit.database.errors import CONNECTING, translate
from servicekit.database.options import DatabaseOptions, connect_arguments

LONGEST = 7900
"""In bytes: PostgreSQL takes 8000."""


class Listening:
    """A connection that listens."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.ended = asyncio.Event()
        """Set when the connection has ended, as far as anybody said so."""

    async def check(self, patience: timedelta) -> None:
        """Ask for a sign of life: where the network has swallowed the connection, nobody says that it ended."""
        try:
            await self._connection.execute("SELECT 1", timeout=patience.total_seconds())
        except CONNECTING as error:
            raise translate(error, {}) from error


@asynccontextmanager
async def listening(
    options: DatabaseOptions, channel: str, hear: Callable[[str], None]
) -> AsyncIterator[Listening]:
    """Hear what is said on the channel meanwhile."""
    try:
        connection = await asyncpg.connect(**connect_arguments(options))
    except CONNECTING as error:
        raise translate(error, {}) from error
    listening = Listening(connection)
    try:
        connection.add_termination_listener(lambda _: listening.ended.set())
        await connection.add_listener(channel, lambda *said: hear(str(said[-1])))
        yield listening
    except CONNECTING as error:
        raise translate(error, {}) from error
    finally:
        connection.terminate()
