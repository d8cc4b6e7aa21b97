"""Re-sealing: moving every row under the current master key while the service runs, so that old keys can go.

It may be killed at any time and run again, and run twice at once: what is left to do is what the rows say
themselves, and each batch is one compare-and-swap. Secrets are in the clear only while one row is in hand.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from keyservice.keyring import Keyring, KeyUnreadable
from keyservice.store import encryption_keys, sealed_rows, waiting_rows
from keyservice.store.sealed_rows import SealedRow
from servicekit.database.engine import Connection, Database
from servicekit.errors import FailedPrecondition

BATCH: Final = 500

# Some milliseconds of computing, after which whatever else the event loop has to do gets its turn.
_ROWS_AT_A_TIME: Final = 20
# One pass does all, unless rows were held by others, or replicas still seal with the old key.
_PASSES: Final = 10
_PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come."""

    total: int
    """Rows that an old key sealed when it began; later ones may have joined them."""
    done: int = 0
    """Rows that it moved under the current key."""
    unreadable: int = 0
    """Rows that don't open, and stay as they are: under a key that is not configured, or damaged."""
    lost: int = 0
    """Times that someone else changed or held a row, which was then left for the next pass."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation has come to."""

    progress: Progress
    left: int
    """Rows still under an old key: unreadable ones, or those of replicas that seal with it to this day."""
    waiting: int
    """Rows of an old database under its own key still, which only adoption moves."""
    retired: tuple[str, ...]
    """Ids of old keys that the database has forgotten, because nobody has them or needs them any more."""


def _silent(_progress: Progress) -> None:
    """For callers that show no progress."""


async def rotate(
    database: Database,
    keyring: Keyring,
    *,
    batch: int = BATCH,
    progress: Callable[[Progress], None] = _silent,
) -> Rotation:
    """All of a rotation that follows the promotion of the new key."""
    reached = await reseal(database, keyring, batch=batch, progress=progress)
    retired = await retire_unused(database, keyring)
    async with database.autocommit() as connection:
        _, others = await encryption_keys.current_and_others(connection)
        left = await encryption_keys.count_rows(connection, others)
        waiting = await waiting_rows.count(connection)
    return Rotation(reached, sum(left.values()), waiting, tuple(retired))


async def reseal(
    database: Database,
    keyring: Keyring,
    *,
    batch: int = BATCH,
    progress: Callable[[Progress], None] = _silent,
) -> Progress:
    """Seal under the current key whatever an older one has sealed, deleted rows too; says how it went.

    ``progress`` is called after every batch.
    """
    async with database.autocommit() as connection:
        others = await _old_keys(connection, keyring)
        total = sum((await encryption_keys.count_rows(connection, others)).values())
    run = _Run(database, keyring, batch, progress, total)
    for number in range(_PASSES):
        if number:
            await asyncio.sleep(_PAUSE_SECONDS)
        if not await run.make_pass():
            break
    return run.reached()


async def retire_unused(database: Database, keyring: Keyring) -> list[str]:
    """Make the database forget former keys that are not configured any more and that no row names; says which.

    Only for whoever has the current key in front: an outdated list knows nothing of newer keys.
    """

    async def work(connection: Connection) -> list[str]:
        await encryption_keys.lock(connection)
        await _old_keys(connection, keyring)
        return await encryption_keys.retire(connection, keep=keyring.key_ids)

    return await database.run(work)


class _Run:
    """One re-sealing, in passes over the rows of old keys."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        batch: int,
        progress: Callable[[Progress], None],
        total: int,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._batch = batch
        self._progress = progress
        self._total = total
        self._done = 0
        self._lost = 0
        self._unreadable: set[UUID] = set()

    def reached(self) -> Progress:
        return Progress(self._total, self._done, len(self._unreadable), self._lost)

    async def make_pass(self) -> bool:
        """Once over all rows of old keys; whether another pass may find something to do."""
        before = self._done + self._lost
        async with self._database.autocommit() as connection:
            key_ids = await _old_keys(connection, self._keyring)
        for key_id in key_ids:
            await self._pass_over(key_id)
        return self._done + self._lost > before

    async def _pass_over(self, key_id: str) -> None:
        """The rows of one old key, by id: a row that stays under it is not met a second time."""
        last: UUID | None = None
        while True:
            async with self._database.autocommit() as connection:
                rows = await sealed_rows.batch(connection, key_id, after=last, size=self._batch)
            if not rows:
                return
            last = rows[-1].id
            await self._move(rows, key_id)
            self._progress(self.reached())

    async def _move(self, rows: list[SealedRow], key_id: str) -> None:
        resealed = await self._resealed(rows, key_id)
        if not resealed:
            return
        new_key_id = self._keyring.current.key_id
        moved = await self._database.run(
            lambda connection: sealed_rows.swap(
                connection, resealed, old_key_id=key_id, new_key_id=new_key_id
            )
        )
        self._done += len(moved)
        self._lost += len(resealed) - len(moved)

    async def _resealed(self, rows: list[SealedRow], key_id: str) -> list[SealedRow]:
        """The rows that open, sealed under the current key."""
        resealed = []
        for number, row in enumerate(rows, start=1):
            try:
                resealed.append(self._reseal(row, key_id))
            except KeyUnreadable:
                self._unreadable.add(row.id)
            if number % _ROWS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return resealed

    def _reseal(self, row: SealedRow, key_id: str) -> SealedRow:
        client_id, row_id, secret_version = row.client_id, row.id, row.secret_version
        values = self._keyring.open(
            row.sealed, key_id=key_id, client_id=client_id, row_id=row_id, secret_version=secret_version
        )
        _, sealed = self._keyring.seal(
            values, client_id=client_id, row_id=row_id, secret_version=secret_version
        )
        return SealedRow(row_id, client_id, secret_version, sealed)


async def _old_keys(connection: Connection, keyring: Keyring) -> list[str]:
    """All but the current key, which has to be ours: or two rotators could send rows to and fro for ever."""
    current, others = await encryption_keys.current_and_others(connection)
    if current != keyring.current.key_id:
        raise FailedPrecondition(
            f"The master key {keyring.current.key_id} was superseded by {current}; nothing moves under it.",
            reason="ENCRYPTION_KEY_SUPERSEDED",
        )
    return others
