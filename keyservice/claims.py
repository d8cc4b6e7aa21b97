"""The claims that this replica holds: short ones, renewed while it is at work on them.

So what a replica had begun when it was killed is soon taken over, however long the bridge may take for a call.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, Never
from uuid import UUID

from keyservice.records import ApiKey
from keyservice.store import convergence as store
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

LEASE: Final = timedelta(seconds=5)
"""For how long a revision is its claimer's, if he does not renew that. He may miss some turns."""
EVERY: Final = timedelta(seconds=1)

_log = logs.get(__name__)


class Claims:
    """Knows what is under way here."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[tuple[UUID, datetime | None], float] = {}
        """Since when, on the monotonic clock, by what names a claim: the key and the time."""

    @contextmanager
    def held(self, key: ApiKey) -> Iterator[None]:
        """Somebody is at work on the key as it was claimed."""
        claim = (key.id, key.last_attempt_at)
        self._held[claim] = monotonic()
        try:
            yield
        finally:
            del self._held[claim]

    async def run(self) -> Never:
        """Until cancelled. Claims that can't be renewed expire, and what was done under them still counts."""
        while True:
            await asyncio.sleep(EVERY.total_seconds())
            try:
                await self.renew()
            except KeybridgeError as error:
                _log.warning("claims can't be renewed, and are later", reason=error.reason)

    async def renew(self) -> None:
        """Those that are not new: most are over within milliseconds, and need no renewal."""
        before = monotonic() - EVERY.total_seconds()
        claims = [claim for claim, since in self._held.items() if since <= before]
        if claims:
            async with self._database.autocommit() as connection:
                await store.prolong(connection, claims, lease=LEASE)
