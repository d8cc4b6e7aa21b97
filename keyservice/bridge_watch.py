"""Which run of the bridge is there: a bridge that restarted holds nothing, and one that is back is not kept waiting.

One look sees one bridge, and others may stand beside it behind a balancer. So whether the run that has acknowledged
some keys is gone is asked of one of them, on the way that all of its account's calls take. And that one of those others
is back is heard from the first call that one of its accounts has an answer to.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from math import inf
from time import monotonic
from typing import Final, Never

from keyservice.bridge import Bridge
from keyservice.bridge_records import Outcome
from keyservice.convergence import Convergence
from keyservice.records import account_name_of
from keyservice.store import due_rows
from keyservice.store.due_rows import MOST_RUNS, Example
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

_EVERY = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=2)
# A bridge that has an answer for some calls and none for others is back again and again. If that counted more often
# than this, keys would have no pauses.
_SETTLED: Final = timedelta(seconds=10)
_BATCH = 1000

_log = logs.get(__name__)


class BridgeWatch:
    """Looks at the bridge every second."""

    def __init__(self, database: Database, bridge: Bridge, convergence: Convergence) -> None:
        self._database = database
        self._bridge = bridge
        self._convergence = convergence
        self._there_since: datetime | None = None
        """By the database's clock; None while the bridge is away, as far as the last look shows."""
        self._returns = 0
        """Of how many returns that takes account."""
        self._returned_at = -inf
        """When it took account of the last one, on the monotonic clock."""
        self._asked_up_to = ""
        """The last run that the last look has asked about, by its name."""

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next look."""
        while True:
            try:
                await self.once()
            except KeybridgeError as error:
                _log.warning("what a look at the bridge has shown can't be stored", reason=error.reason)
                self._there_since = None
            await asyncio.sleep(_EVERY.total_seconds())

    async def once(self) -> None:
        """Look once, and make due what that shows to be lost, or to have waited for it."""
        answer = await self._bridge.info(timeout=_PATIENCE)
        if isinstance(answer, Outcome):
            if self._there_since is not None:
                _log.warning("the bridge does not answer", reason=answer.reason, code=answer.code)
            self._there_since = None
            return
        due = await self._hold_against(answer.instance_id)
        there_since = self._there_since
        if there_since is None or self._somebody_is_back():
            self._returns = self._bridge.returns
            there_since = await due_rows.clock(self._database.reads)
        # At every look, because attempts that were under way when the bridge came back fail after that. What has been
        # tried since is left alone: it belongs to another bridge, which is still away.
        due += await self._in_batches(partial(due_rows.hurry, tried_before=there_since))
        if self._there_since is None:
            _log.info("the bridge is there", instance_id=answer.instance_id, keys_due=due)
        self._there_since = there_since
        if due:
            self._convergence.due.set()

    def _somebody_is_back(self) -> bool:
        """Somewhere behind the balancer, at the most now and then."""
        now = monotonic()
        if self._bridge.returns == self._returns or now - self._returned_at < _SETTLED.total_seconds():
            return False
        self._returned_at = now
        return True

    async def _hold_against(self, instance_id: str) -> int:
        """Make due what other runs have acknowledged that are gone."""
        due = 0
        examples = await due_rows.example_of_each_run(
            self._database.reads, besides=instance_id, after=self._asked_up_to
        )
        # Where there are more than one look asks about, the next one goes on, and begins anew after the last.
        self._asked_up_to = examples[-1].instance_id if len(examples) == MOST_RUNS else ""
        for example in examples:
            if await self._is_gone(example):
                due += await self._in_batches(partial(due_rows.suspect, instance_id=example.instance_id))
        return due

    async def _is_gone(self, example: Example) -> bool:
        """Whether its bridge holds nothing any more of what this run had acknowledged."""
        account_name = account_name_of(example.client_id)
        held = await self._bridge.connectors(account_name, timeout=_PATIENCE)
        return not isinstance(held, Outcome) and all(each.instance_id != example.instance_id for each in held)

    async def _in_batches(self, statement: Callable[..., Awaitable[int]]) -> int:
        """Make rows due in several statements, so that nobody who wants one of them waits for all."""
        due = 0
        while True:
            async with self._database.autocommit() as connection:
                some = await statement(connection, limit=_BATCH)
            due += some
            if some < _BATCH:
                return due
