"""What is remembered is forgotten when it is old enough: a few rows at a time, so that nobody waits for it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Never

from bridgeservice.store import snapshots
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

_EVERY = timedelta(hours=1)
_BATCH = 1000

_log = logs.get(__name__)


class Retention:
    """A loop; any number of replicas may run it."""

    def __init__(self, database: Database, *, snapshots: timedelta) -> None:
        self._database = database
        self._snapshots = snapshots

    async def run(self) -> Never:
        """Until cancelled. What fails is done at the next turn."""
        while True:
            try:
                await self.once(datetime.now(UTC))
            except KeybridgeError as error:
                _log.warning("what is old could not be forgotten, and is later", reason=error.reason)
            await asyncio.sleep(_EVERY.total_seconds())

    async def once(self, now: datetime) -> int:
        """Forget what is due; says how many rows that were."""
        forgotten = 0
        while True:
            async with self._database.autocommit() as connection:
                gone = await snapshots.forget(connection, now - self._snapshots, _BATCH)
            forgotten += gone
            if gone < _BATCH:
                return forgotten
