"""Which run of the bridge is there: a bridge that restarted holds nothing, and one that is back is not kept waiting.

One look sees one bridge. While no other one shows itself, whatever another run has acknowledged is gone with it, and
is made due. Where several stand behind a balancer, looks see now this one and now that: then only a run that was
never seen before says so, once, and the rest is for the rolling check.
"""

import asyncio
from datetime import timedelta
from typing import Never

from keyservice.bridge import Bridge
from keyservice.bridge_records import Outcome
from keyservice.convergence import Convergence
from keyservice.store import due_rows
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

_EVERY = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=2)
_BATCH = 5000

_log = logs.get(__name__)


class BridgeWatch:
    """Looks at the bridge every second."""

    def __init__(self, database: Database, bridge: Bridge, convergence: Convergence) -> None:
        self._database = database
        self._bridge = bridge
        self._convergence = convergence
        self._seen: set[str] = set()
        self._latest = ""
        self._several = False
        self._away = True

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next look."""
        while True:
            try:
                await self.once()
            except KeybridgeError as error:
                _log.warning("what a look at the bridge has shown can't be stored", reason=error.reason)
                self._away = True
            await asyncio.sleep(_EVERY.total_seconds())

    async def once(self) -> None:
        """Look once, and make due what that shows to be lost, or to have waited for it."""
        was_away = self._away or self._bridge.away
        answer = await self._bridge.info(timeout=_PATIENCE)
        if isinstance(answer, Outcome):
            if not self._away:
                _log.warning("the bridge does not answer", reason=answer.reason, code=answer.code)
            self._away = True
            return
        due = await self._hold_against(answer.instance_id)
        if was_away:
            async with self._database.autocommit() as connection:
                due += await due_rows.hurry(connection)
            _log.info("the bridge is there", instance_id=answer.instance_id, keys_due=due)
        self._away = False
        if due:
            self._convergence.due.set()

    async def _hold_against(self, instance_id: str) -> int:
        """Make due what others than this run have acknowledged, where that means that it is lost."""
        is_new = instance_id not in self._seen
        if is_new:
            self._seen.add(instance_id)
            self._latest = instance_id
            self._several = False
        elif instance_id != self._latest:
            self._several = True
        if self._several:
            return 0
        due = 0
        while True:
            async with self._database.autocommit() as connection:
                some = await due_rows.suspect_others(connection, instance_id, limit=_BATCH)
            due += some
            if some < _BATCH:
                return due
