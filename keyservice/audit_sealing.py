"""The sealer: a loop that adds seals to the chain for what has come into the audit record since the last one.

Any number of replicas may run it: who gets the turn seals, and the others find nothing left to do. Each remembers
the last seal that it saw. So a record whose seals were taken away is not sealed anew as if nothing had happened.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Final, Never

from keyservice.audit_chain import NOWHERE, Digester, Seal, next_seal
from keyservice.keyring import Keyring
from keyservice.store import audit_seals
from keyservice.store.audit_seals import Fence
from servicekit import logs
from servicekit.database.engine import Connection, Database
from servicekit.database.reads import Executor
from servicekit.errors import FailedPrecondition, KeybridgeError

BATCH: Final = 1000

_log = logs.get(__name__)


class AuditSealer:
    """Seals what is complete of the record: nobody can write an event before it any more."""

    def __init__(self, database: Database, keyring: Keyring, *, every: timedelta, batch: int = BATCH) -> None:
        self._database = database
        self._keyring = keyring
        self._every = every
        self._most = batch
        """How many events are put under one seal."""
        self._fence: Fence | None = None
        """A look at the record during which others were writing, so that it has to wait for them."""
        self._seen: Seal | None = None

    async def run(self) -> Never:
        """Until cancelled. What keeps the record from being sealed is said at every turn."""
        while True:
            try:
                await self.once()
            except KeybridgeError as error:
                _log.error("the audit record can't be sealed", reason=error.reason)
            await asyncio.sleep(self._every.total_seconds())

    async def once(self) -> int:
        """Seal what the last turn had to leave, and then what has come since, as far as it is complete; says how
        many events that was.
        """
        sealed = await self._seal()
        if self._fence is None:
            self._fence = await self._look()
            sealed += await self._seal()
        return sealed

    async def _seal(self) -> int:
        sealed = 0
        while (fence := self._fence) is not None:
            number = await self._database.run(partial(self._seal_batch, fence))
            if not number:
                break
            sealed += number
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
        if not (turn.mine and turn.is_past(fence)):
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
