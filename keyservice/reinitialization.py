"""Use cases that take keys to the bridge anew: one at once, or all that a filter selects, with the progress."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from keyservice.convergence import Convergence
from keyservice.custody import require_in_use
from keyservice.deadlines import time_for_bridge
from keyservice.ending import Ending
from keyservice.errands import Tried, Within
from keyservice.others import LOOK, once_answered
from keyservice.records import ApiKey, Caller
from keyservice.store import api_keys, audit, due_rows
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError, ResourceExhausted

_A_MOMENT = timedelta(seconds=1)

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys are to be taken to the bridge anew; None for any."""

    client_id: UUID | None
    exchange: str | None
    only_unconfigured: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come."""

    total: int
    done: int = 0
    configured: int = 0
    key: ApiKey | None = None
    """The one that was tried last."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What a call has selected and somebody else held."""

    ids: set[UUID]
    """Those that still are; the others are due."""
    since: datetime
    only_unconfigured: bool


class Reinitialization:
    """Makes keys due that were not, and waits for what comes of it."""

    def __init__(
        self, database: Database, convergence: Convergence, ending: Ending, *, most_of_one: int
    ) -> None:
        self._most_of_one = most_of_one
        self._under_way: Counter[str] = Counter()
        self._database = database
        self._convergence = convergence
        self._ending = ending
        self._held: list[_Held] = []
        """Of all calls, whether their callers are there still or not."""
        self._following: asyncio.Task[None] | None = None

    async def one(self, caller: Caller, key_id: UUID, within: Within) -> Tried:
        """Take a key to the bridge now. Where somebody does so already, what comes of that is the answer."""
        key = require_in_use(await api_keys.get(self._database.reads, key_id, caller))
        async with self._database.transaction(whose=caller.share) as connection:
            await audit.record(
                connection, caller, "ReinitializeApiKey", client_id=key.client_id, api_key_id=key_id
            )
        tried = await self._convergence.retry(caller, key, within)
        if tried is not None:
            return tried
        patience = time_for_bridge(self._convergence.inline_wait, within)
        answered = await once_answered(self._database.reads, caller, [key_id], patience)
        return Tried(require_in_use(answered.get(key_id)))

    async def many(self, caller: Caller, wanted: Selection) -> AsyncGenerator[Progress, None]:
        """Make all of them due, which the loops of all replicas then work off, and tell of each that was tried.

        A replica that stops ends the stream, as its own loop works nothing off any more. The keys stay due, but for
        those that somebody else holds until the stop.
        """
        with self._place_of(caller):
            async with aclosing(self._many(caller, wanted)) as progress:
                async for each in progress:
                    yield each

    @contextmanager
    def _place_of(self, caller: Caller) -> Iterator[None]:
        """Each of these looks at the database again and again, so that one caller has only so many at once."""
        whose = caller.share
        if whose is None or not self._most_of_one:
            yield
            return
        if self._under_way[whose] >= self._most_of_one:
            raise ResourceExhausted(
                f"You have {self._most_of_one} of these calls under way already. Let one of them end.",
                reason="TOO_MANY_REINITIALIZATIONS",
                retry_after=_A_MOMENT,
            )
        self._under_way[whose] += 1
        try:
            yield
        finally:
            self._under_way[whose] -= 1
            if not self._under_way[whose]:
                del self._under_way[whose]

    async def _many(self, caller: Caller, wanted: Selection) -> AsyncGenerator[Progress, None]:
        async with self._database.transaction(whose=caller.share) as connection:
            begun = await due_rows.clock(connection)
            selected = await due_rows.make_due(
                connection,
                caller,
                client_id=wanted.client_id,
                exchange=wanted.exchange,
                only_unconfigured=wanted.only_unconfigured,
            )
            # Whoever names another tenant's client selects nothing of it, and writes nothing into its record.
            about = wanted.client_id if wanted.client_id and caller.may_see(wanted.client_id) else None
            await audit.record(connection, caller, "ReinitializeApiKeys", client_id=about)
        self._convergence.leave_to_the_loop(selected.made_due)
        held = _Held(set(selected.held), begun, wanted.only_unconfigured)
        self._follow(held)
        left = {*selected.made_due, *held.ids}
        progress = Progress(len(left))
        yield progress
        while left:
            await self._ending.sleep(LOOK.total_seconds())
            for key in await due_rows.tried(self._database.reads, list(left - held.ids)):
                left.discard(key.id)
                configured = progress.configured + key.configured
                progress = Progress(progress.total, progress.done + 1, configured, key)
                yield progress

    def _follow(self, held: _Held) -> None:
        """One task for all calls, so that what is held for long keeps no more than one connection busy."""
        if not held.ids:
            return
        self._held.append(held)
        if self._following is None or self._following.done():
            self._following = self._convergence.work.start(self._make_due_when_free())

    async def _make_due_when_free(self) -> None:
        """What somebody held just then, also when its caller has gone away."""
        while self._held:
            await asyncio.sleep(LOOK.total_seconds())
            try:
                for held in self._held:
                    await self._make_due(held)
            except KeybridgeError as error:
                _log.warning("keys that are held can't be made due, and are later", reason=error.reason)
                await asyncio.sleep(_A_MOMENT.total_seconds())
            self._held = [held for held in self._held if held.ids]

    async def _make_due(self, held: _Held) -> None:
        async with self._database.autocommit() as connection:
            selected = await due_rows.make_held_due(
                connection, list(held.ids), since=held.since, only_unconfigured=held.only_unconfigured
            )
        held.ids.intersection_update(selected.held)
        if selected.made_due:
            self._convergence.leave_to_the_loop(selected.made_due)
