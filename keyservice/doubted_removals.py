"""Removals that are doubted: a push of the key before was on its way meanwhile, and the bridge may have taken it.

The removal was perhaps acknowledged by another run of the bridge than the one that has the push, so it is done again.
Nobody else knows of it, so a database that is away is asked again.
"""

import asyncio
from datetime import timedelta

from keyservice.records import ApiKey
from keyservice.store import clients, revisions
from servicekit import logs
from servicekit.database.engine import Connection, Database
from servicekit.errors import KeybridgeError

_TRY_AGAIN = timedelta(seconds=1)

_log = logs.get(__name__)


async def doubt_removal(database: Database, key: ApiKey, due: asyncio.Event) -> None:
    """The key was changed while its push was on the way: if it was removed, that is due once more."""

    async def work(connection: Connection) -> bool:
        await clients.lock_for_keys(connection, key.client_id)
        return await revisions.doubt_removal(connection, key)

    while True:
        try:
            if await database.run(work):
                due.set()
        except KeybridgeError as error:
            _log.warning(
                "a removal can't be made due again, and is later",
                api_key_id=str(key.id),
                reason=error.reason,
            )
            await asyncio.sleep(_TRY_AGAIN.total_seconds())
        else:
            return
