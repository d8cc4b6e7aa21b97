"""The sealer: a loop that adds seals to the chain for what has come into the audit record since the last one.

Any number of replicas may run it: who gets the turn seals, and the others find nothing left to do. Each remembers
the last seal that it saw. So a record whose seals were taken away is not sealed anew as if nothing had happened.

What is not sealed yet can be changed unseen, and any account of the server can hold the seals up: by keeping the turn
or a transaction open. So nobody may do that in silence.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Final, Never

from prometheus_client import CollectorRegistry, Gauge

from keyservice.audit_chain import NOWHERE, Digester, Seal, next_seal
from keyservice.keyring import Keyring
from keyservice.store import audit_seals
from keyservice.store.audit_seals import Fence
from servicekit import logs
from servicekit.database.engine import Connection, Database
from servicekit.database.reads import Executor
from servicekit.errors import FailedPrecondition, KeybridgeError

BATCH: Final = 1000
PATIENCE: Final = 30
"""For so many turns the seals may be held up before that is an error."""

_log = logs.get(__name__)


class AuditSealer:
    """Seals what is complete of the record: nobody can write an event before it any more."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        every: timedelta,
        registry: CollectorRegistry,
        batch: int = BATCH,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._every = every
        self._most = batch
        """How many events are put under one seal."""
        self._fence: Fence | None = None
        """A look at the record during which others were writing, so that it has to wait for them."""
        self._clock = clock
        self._looked_at = self._sealed_until = clock()
        """When the last look was, and the last one of which nothing is left to seal."""
        self._hindrance = ""
        self._delay = Gauge(
            "keyservice_audit_seal_delay_seconds",
            "For how long events have been waiting for their seal.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._seen: Seal | None = None

    async def run(self) -> Never:
        """Until cancelled. What keeps the record from being sealed is said at every turn."""
        while True:
            try:
                await self.once()
                behind = self._fence is not None
            except KeybridgeError as error:
                behind = True
                self._hindrance = error.reason
                _log.error("the audit record can't be sealed", reason=error.reason)
            self._tell_of_delay(behind=behind)
            await asyncio.sleep(self._every.total_seconds())

    async def once(self) -> int:
        """Seal what the last turn had to leave, and then what has come since, as far as it is complete; says how
        many events that was.
        """
        sealed = await self._seal()
        if self._fence is None:
            now = self._clock()
            self._fence = await self._look()
            self._looked_at = now
            sealed += await self._seal()
        return sealed

    def _tell_of_delay(self, *, behind: bool) -> None:
        """A turn that failed may not even have come to look, so what is behind is so since the last complete one."""
        delay = self._clock() - self._sealed_until if behind else 0.0
        self._delay.set(delay)
        if delay > PATIENCE * self._every.total_seconds():
            _log.error(
                "the audit record is not being sealed: what is not sealed can be changed unseen",
                seconds=round(delay),
                reason=self._hindrance,
            )

    async def _seal(self) -> int:
        sealed = 0
        while (fence := self._fence) is not None:
            number = await self._database.run(partial(self._seal_batch, fence))
            if not number:
                break
            sealed += number
        if self._fence is None:
            self._sealed_until = self._looked_at
        return sealed

    async def _look(self) -> Fence | None:
        async with self._database.autocommit() as connection:
            head = await self._head(connection)
            return await audit_seals.fence(connection, after=_reach(head))

    async def _seal_batch(self, fence: Fence, connection: Connection) -> int:
        """One seal for what lies before the fence, which is taken down when nothing is left there."""
        turn = await audit_seals.turn(connection)
        if turn.is_elsewhere(fence):
            self._fence = None
            return 0
        if not turn.mine:
            self._hindrance = "another session has the turn"
            return 0
        if not turn.is_past(fence):
            self._hindrance = "a transaction is open that is older than the events"
            return 0
        head = await self._head(connection)
        events = await audit_seals.events(
            connection, after=_reach(head), up_to=fence.position, size=self._most
        )
        digester = Digester()
        digester.add(events)
        batch = digester.batch()
        if batch is None:
            self._fence = None
            return 0
        await audit_seals.add(connection, next_seal(self._keyring, head, batch, turn.time))
        return batch.event_count

    async def _head(self, connection: Executor) -> Seal | None:
        """The last seal, if it is one, and still goes on from the one that was the last before."""
        head = await audit_seals.head(connection)
        if head is not None and head == self._seen:
            return head
        gone = self._seen is not None and await audit_seals.get(connection, self._seen.number) != self._seen
        if gone or (head is not None and not head.is_genuine(self._keyring)):
            raise FailedPrecondition(
                "Seals of the audit record were taken away or changed: see `keybridge audit verify`.",
                reason="AUDIT_SEALS_CHANGED",
            )
        self._seen = head
        return head


def _reach(head: Seal | None) -> int:
    """The position up to which the record is sealed."""
    return head.batch.last_position if head else NOWHERE
