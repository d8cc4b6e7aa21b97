"""Seals anew what an old database had sealed under its one key. May be killed at any time and run again.

What is left to do is what the rows say: those that wait have tokens and no key id. A batch is opened and
sealed outside of any transaction, and stored in one, where the tokens are still the ones that were opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from keyservice.adoption.duplicates import Superseded, superseded
from keyservice.adoption.old_key import NotReadable, OldKey, trimmed_hint, with_white_space
from keyservice.adoption.report import Report, kept_report
from keyservice.credentials import columns
from keyservice.fingerprints import fingerprint_of
from keyservice.keyring import Keyring
from keyservice.store import adoption_events, waiting_rows
from keyservice.store.adoption_events import ADOPT, BEGIN, SUPERSEDE, UNREADABLE, Event
from keyservice.store.waiting_rows import AdoptedRow, WaitingRow
from servicekit.database.engine import Connection, Database
from servicekit.errors import FailedPrecondition

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come."""

    total: int
    """Rows that waited when it began."""
    adopted: int = 0
    superseded: int = 0
    """Keys deleted because a newer row has the same one."""
    unreadable: int = 0


def _silent(_progress: Progress) -> None:
    """For callers that show no progress."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A batch, sealed anew where it opened."""

    adopted: list[AdoptedRow]
    white_space: dict[UUID, list[str]]
    unreadable: list[WaitingRow]


async def adopt(
    database: Database,
    keyring: Keyring,
    old_key: SecretStr,
    *,
    batch: int = BATCH,
    progress: Callable[[Progress], None] = _silent,
) -> Report:
    """Seal every waiting row under the keyring, and report all that has become of the old database.

    SettingsError if the old key is none; FailedPrecondition, and nothing written, if no row opens with it.
    ``progress`` is called after every batch.
    """
    key = OldKey(old_key)
    await _require_proof(database, key, batch)
    async with database.autocommit() as connection:
        reached = Progress(total=await waiting_rows.count(connection))
    last: UUID | None = None
    while True:
        async with database.autocommit() as connection:
            rows = await waiting_rows.batch(connection, after=last, size=batch)
        if not rows:
            break
        last = rows[-1].id
        reached = await _adopt_batch(database, keyring, key, rows, reached)
        progress(reached)
    nothing_left = reached.adopted + reached.unreadable == 0
    async with database.autocommit() as connection:
        report = await kept_report(connection)
    return replace(report, nothing_left=nothing_left, under_old_key=key.id == keyring.current.key_id)


async def _require_proof(database: Database, key: OldKey, batch: int) -> None:
    """One row that opens proves the key; written down, since a later run may meet only rows that don't."""
    async with database.autocommit() as connection:
        if await adoption_events.begun(connection, key.id):
            return
        total = await waiting_rows.count(connection)
    if not total:
        return
    if not await _opens_any(database, key, batch):
        raise FailedPrecondition(
            f"This is not the old database's key: not one of the {total} API keys that wait opens with it."
            " Nothing was changed.",
            reason="NOT_THE_OLD_KEY",
        )
    begin = Event(BEGIN, details={"old_key": key.id})
    await database.run(lambda connection: adoption_events.record(connection, [begin]))


async def _opens_any(database: Database, key: OldKey, batch: int) -> bool:
    last: UUID | None = None
    while True:
        async with database.autocommit() as connection:
            rows = await waiting_rows.batch(connection, after=last, size=batch)
        if not rows:
            return False
        if any(key.opens_any(row.tokens) for row in rows):
            return True
        last = rows[-1].id


async def _adopt_batch(
    database: Database, keyring: Keyring, key: OldKey, rows: list[WaitingRow], reached: Progress
) -> Progress:
    opened = _open(keyring, key, rows)

    async def store(connection: Connection) -> Progress:
        await waiting_rows.lock(connection)
        waiting = await waiting_rows.still_waiting(connection, rows)
        adopted = [each for each in opened.adopted if each.row.id in waiting]
        losers = await superseded(connection, adopted)
        unread = [row for row in opened.unreadable if row.id in waiting]
        unreported = await _not_yet_reported(connection, unread)
        # The older ones go first: the newest may have the fingerprint only when nobody else does.
        await waiting_rows.supersede(connection, [loser.id for loser in losers])
        await waiting_rows.store(connection, adopted)
        # Also those that are reported, but were disabled or deleted when they were, or have been since.
        marked = await waiting_rows.mark_unreadable(connection, [row.id for row in unread])
        events = _events(key, adopted, opened.white_space, losers, unreported)
        await adoption_events.record(connection, events)
        return replace(
            reached,
            adopted=reached.adopted + len(adopted),
            superseded=reached.superseded + len(losers),
            unreadable=reached.unreadable + len(marked | {row.id for row in unreported}),
        )

    return await database.run(store)


def _open(keyring: Keyring, key: OldKey, rows: list[WaitingRow]) -> _Opened:
    opened = _Opened([], {}, [])
    for row in rows:
        try:
            credentials = key.open(row.tokens)
        except NotReadable:
            opened.unreadable.append(row)
            continue
        if fields := with_white_space(credentials):
            opened.white_space[row.id] = fields
        key_id, sealed = keyring.seal(
            columns(credentials), client_id=row.client_id, row_id=row.id, secret_version=row.secret_version
        )
        fingerprint = fingerprint_of(keyring, row.exchange, credentials)
        opened.adopted.append(AdoptedRow(row, key_id, sealed, trimmed_hint(credentials), fingerprint))
    return opened


async def _not_yet_reported(connection: Connection, rows: list[WaitingRow]) -> list[WaitingRow]:
    reported = await adoption_events.reported_unreadable(connection, [row.id for row in rows])
    return [row for row in rows if row.id not in reported]


def _events(
    key: OldKey,
    adopted: list[AdoptedRow],
    white_space: dict[UUID, list[str]],
    losers: list[Superseded],
    unreadable: list[WaitingRow],
) -> list[Event]:
    return [
        *(
            Event(ADOPT, each.row.client_id, each.row.id, details=_details(key, white_space.get(each.row.id)))
            for each in adopted
        ),
        *(
            Event(SUPERSEDE, loser.client_id, loser.id, details={"superseded_by": str(loser.by)})
            for loser in losers
        ),
        *(Event(ADOPT, row.client_id, row.id, UNREADABLE, _details(key, None)) for row in unreadable),
    ]


def _details(key: OldKey, white_space: list[str] | None) -> dict[str, object]:
    return {"old_key": key.id} | ({"white_space": white_space} if white_space else {})
