"""What came of attempts at the bridge, on its way into the rows: as many in one statement as have come meanwhile.

A row that somebody holds keeps only its own outcome waiting: what could not be written with the others follows alone.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Final, TypeAlias
from uuid import UUID

from keyservice.bridge_records import Outcome
from keyservice.enums import BridgeReason, BridgeState
from keyservice.records import ApiKey
from keyservice.store import convergence as store
from keyservice.store.convergence import Result
from servicekit.database.engine import Database

_MOST: Final = 500
_MOMENT: Final = 0.02
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=60)
# So many connections at most wait for rows that somebody holds.
_MOST_ALONE: Final = 4

Written: TypeAlias = Mapping[UUID, ApiKey]


class _Batch:
    """Outcomes that go together."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.complete = asyncio.Event()
        """Set when it is not to wait for more."""
        self.written: asyncio.Task[Written]


class Results:
    """Writes at once what comes alone. While it writes, others gather, and go together in the next statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self._gathering: _Batch | None = None
        self._alone = asyncio.Semaphore(_MOST_ALONE)

    async def write(self, result: Result, *, urgent: bool) -> ApiKey | None:
        """The key as it is now; None if it has changed since it was claimed, so that the result says nothing.

        What is not urgent waits a moment for more of its kind.
        """
        batch = self._batch()
        batch.results.append(result)
        if urgent or len(batch.results) == _MOST:
            batch.complete.set()
        # Whoever goes away while he waits does not take along what others wait for.
        now = (await asyncio.shield(batch.written)).get(result.key.id)
        if now is None:
            # Somebody held the row just then, or it has changed.
            async with self._alone, self._database.autocommit() as connection:
                now = (await store.write(connection, [result], skips=False)).get(result.key.id)
        if now is not None and now.revision != result.key.revision:
            return None  # what another result of the batch says of a later revision
        return now

    def _batch(self) -> _Batch:
        """The one that the next outcome belongs to."""
        batch = self._gathering
        if batch is None or len(batch.results) == _MOST:
            batch = self._gathering = _Batch()
            batch.written = asyncio.create_task(self._write(batch))
        return batch

    async def _write(self, batch: _Batch) -> Written:
        async with self._turn:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT):
                    await batch.complete.wait()
            if self._gathering is batch:
                self._gathering = None
            async with self._database.autocommit() as connection:
                return await store.write(connection, batch.results, skips=True)


def result_of(key: ApiKey, outcome: Outcome) -> Result:
    """What an attempt means for the row, and when to try again where nobody has to act before."""
    if outcome.ok or (outcome.missing and not key.wanted):
        state = BridgeState.CONFIGURED if key.wanted else BridgeState.REMOVED
        return Result(key, state, instance_id=outcome.instance_id or None)
    if outcome.permanent and key.wanted:
        return Result(key, BridgeState.FAILED, outcome.reason)
    state = BridgeState.PENDING if key.wanted else BridgeState.REMOVING
    return Result(key, state, outcome.reason, again_in=_pause(key, outcome), asked=outcome.asked)


def _pause(key: ApiKey, outcome: Outcome) -> timedelta:
    named = outcome.retry_after
    if named is not None and outcome.reason is BridgeReason.RATE_LIMITED:
        return named
    # An attempt that was not made counts for nothing: another replica may reach the bridge that this one does not.
    pause = backoff(key.attempt_count if outcome.asked else 0)
    # A bridge that has too much to do names the same pause to all.
    return pause if named is None else named + pause


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many attempts: exponential, capped, with full jitter, so that nobody comes at once."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempts, 16))
    return timedelta(seconds=random.uniform(0, longest.total_seconds()))  # noqa: S311 - spreads load, guards nothing
