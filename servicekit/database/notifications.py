"""NOTIFY and LISTEN: words between all who share a database, over a connection that does nothing else.

A word that is spoken while the connection is away is lost: whoever listens looks for himself when it is there again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from servicekit.database.errors import CONNECTING, translate
from servicekit.database.options import DatabaseOptions, connect_arguments

LONGEST = 7900
"""In bytes: PostgreSQL takes 8000."""


@asynccontextmanager
async def listening(
    options: DatabaseOptions, channel: str, hear: Callable[[str], None]
) -> AsyncIterator[asyncio.Event]:
    """Hear what is said on the channel meanwhile; the event is set when the connection has ended."""
    ended = asyncio.Event()
    try:
        connection = await asyncpg.connect(**connect_arguments(options))
    except CONNECTING as error:
        raise translate(error, {}) from error
    try:
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(channel, lambda *said: hear(str(said[-1])))
        yield ended
    except CONNECTING as error:
        raise translate(error, {}) from error
    finally:
        connection.terminate()
