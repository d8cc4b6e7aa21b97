"""What time does to stored things: deleted credentials are erased, old request ids are forgotten."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Never

from keyservice.store import api_keys, requests
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

KEEP_REQUESTS = timedelta(days=7)
_PAUSE = timedelta(minutes=5)
_BATCH = 500

_log = logs.get(__name__)


class Housekeeping:
    """A loop that any number of replicas may run at once: each takes what the others have not locked."""

    def __init__(self, database: Database, *, erase_after: timedelta) -> None:
        self._database = database
        self._erase_after = erase_after

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next turn."""
        while True:
            try:
                await self.once()
            except KeybridgeError as error:
                _log.warning("housekeeping failed, and is tried again later", reason=error.reason)
            await asyncio.sleep(_PAUSE.total_seconds())

    async def once(self) -> int:
        """Erase and forget what is due; says how many keys' credentials were erased."""
        erased = 0
        while done := await self._erase(datetime.now(UTC) - self._erase_after):
            erased += done
        async with self._database.transaction() as connection:
            await connection.execute(requests.forget(KEEP_REQUESTS))
        if erased:
            _log.info("erased the credentials of deleted keys", keys=erased)
        return erased

    async def _erase(self, before: datetime) -> int:
        async with self._database.transaction() as connection:
            return await api_keys.erase_deleted(connection, before, limit=_BATCH)
