"""Re-sealing moves every row under the current key, changes nothing else, and stands in nobody's way."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, event, text

from keyservice.conflicts import CONFLICTS
from keyservice.keyring import Keyring, KeyUnreadable, open_keyring
from keyservice.resealing import Progress, reseal, retire_unused, rotate
from keyservice.sealing import MasterKey
from keyservice.store import api_keys, encryption_keys, sealed_rows
from keyservice.store.api_keys import Secrets
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition, StartupError, Unavailable
from tests.support.sealed import (
    Row,
    add_client,
    add_rows,
    dump,
    execute,
    id_of,
    new_key,
    new_values,
    read_rows,
)

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = 10


class Rotated:
    """A database in the middle of a rotation: rows under the old key, and the new one just promoted."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.old_key, self.new_key = new_key(), new_key()
        self.old_id, self.new_id = id_of(self.old_key), id_of(self.new_key)
        self.values: dict[UUID, dict[str, bytes]] = {}
        self.client_id = uuid4()
        self.before: Keyring
        self.after: Keyring

    async def promote(self) -> None:
        self.before = await open_keyring(self.database, [self.old_key, self.new_key])
        self.after = await open_keyring(self.database, [self.new_key, self.old_key])
        self.client_id = await add_client(self.database)

    async def add(self, count: int, **columns: object) -> list[UUID]:
        """More rows under the old key, last changed long ago."""
        added = await add_rows(
            self.database, self.before, self.client_id, count, updated_at=LONG_AGO, **columns
        )
        self.values |= added
        return list(added)

    async def rows(self) -> dict[UUID, Row]:
        return await read_rows(self.database)

    def replacement(self, row_id: UUID, keyring: Keyring) -> tuple[dict[str, bytes], Secrets]:
        """Credentials for the second version of a row."""
        values = new_values()
        key_id, sealed = keyring.seal(values, client_id=self.client_id, row_id=row_id, secret_version=2)
        return values, Secrets(sealed, key_id, secret_version=2, key_hint="", fingerprint=None)


@pytest.fixture
async def rotated(database: Database) -> Rotated:
    state = Rotated(database)
    await state.promote()
    return state


async def others_of(database: Database) -> list[str]:
    """Everything in the table but the seals."""
    statement = text(
        "SELECT (to_jsonb(t) - '{api_key,api_secret,passphrase,extra,key_id}'::text[])::text"
        " FROM exchange_api_keys t ORDER BY id"
    )
    async with database.autocommit() as connection:
        return list((await connection.execute(statement)).scalars())


async def test_every_row_is_under_the_current_key_and_holds_what_it_held(rotated: Rotated) -> None:
    await rotated.add(120)
    assert await reseal(rotated.database, rotated.after, batch=50) == Progress(total=120, done=120)
    alone = await open_keyring(rotated.database, [rotated.new_key])
    rows = await rotated.rows()
    assert {row_id: row.open(alone) for row_id, row in rows.items()} == rotated.values
    assert {row.key_id for row in rows.values()} == {rotated.new_id}


async def test_nothing_but_the_seals_changes(rotated: Rotated) -> None:
    """No revision, no version of the secrets, no time: sealing a key anew is no change of the key."""
    await rotated.add(5)
    before = await others_of(rotated.database)
    await reseal(rotated.database, rotated.after)
    assert await others_of(rotated.database) == before


async def test_deleted_rows_are_moved_too(rotated: Rotated) -> None:
    await rotated.add(3, is_deleted=True, deleted_at=LONG_AGO)
    await reseal(rotated.database, rotated.after)
    assert {row.key_id for row in (await rotated.rows()).values()} == {rotated.new_id}


async def test_rows_that_hold_nothing_or_wait_for_adoption_are_left_alone(rotated: Rotated) -> None:
    nothing = {"api_key": None, "api_secret": None, "key_id": None}
    await rotated.add(1, **nothing, is_deleted=True, deleted_at=LONG_AGO, erased_at=LONG_AGO)
    await rotated.add(1, **nothing, exchange="paper")
    await rotated.add(1, key_id=None)
    before = await dump(rotated.database)
    assert await reseal(rotated.database, rotated.after) == Progress(total=0)
    assert await dump(rotated.database) == before


async def test_a_second_run_finds_nothing_to_do(rotated: Rotated) -> None:
    await rotated.add(5)
    await reseal(rotated.database, rotated.after)
    before = await dump(rotated.database)
    assert await reseal(rotated.database, rotated.after) == Progress(total=0)
    assert await dump(rotated.database) == before


async def test_progress_is_told_after_every_batch(rotated: Rotated) -> None:
    await rotated.add(25)
    told: list[Progress] = []
    await reseal(rotated.database, rotated.after, batch=10, progress=told.append)
    assert told == [Progress(total=25, done=done) for done in (10, 20, 25)]


async def test_a_batch_is_written_in_one_statement(rotated: Rotated) -> None:
    await rotated.add(40)
    with statements() as seen:
        await reseal(rotated.database, rotated.after, batch=20)
    assert len([each for each in seen if "UPDATE exchange_api_keys" in each]) == 2


@contextmanager
def statements() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_rows_that_do_not_open_are_counted_and_stay_as_they_are(rotated: Rotated) -> None:
    good = await rotated.add(30)
    bad = await rotated.add(30)
    damage = "UPDATE exchange_api_keys SET api_key = 'x' || api_key WHERE id = ANY(:ids)"
    await execute(rotated.database, damage, ids=bad)
    damaged = await read_rows(rotated.database, bad)
    for total, done in ((60, 30), (30, 0)):
        # Batches of ten: some of them hold nothing that opens.
        reached = await reseal(rotated.database, rotated.after, batch=10)
        assert reached == Progress(total=total, done=done, unreadable=30)
    rows = await rotated.rows()
    assert {rows[row_id].key_id for row_id in good} == {rotated.new_id}
    assert {row_id: rows[row_id] for row_id in bad} == damaged


async def test_two_at_once_do_the_work_once(rotated: Rotated, make_database: Callable[[], Database]) -> None:
    await rotated.add(200)
    both = await asyncio.gather(*(reseal(make_database(), rotated.after, batch=20) for _ in range(2)))
    assert sum(each.done for each in both) == 200
    rows = await rotated.rows()
    assert {row_id: row.open(rotated.after) for row_id, row in rows.items()} == rotated.values
    assert {row.key_id for row in rows.values()} == {rotated.new_id}


class Counting(Keyring):
    """Counts what it seals."""

    sealed = 0

    def seal(
        self, values: Mapping[str, bytes], **place: Any
    ) -> tuple[str, dict[str, str]]:  # as it is called
        self.sealed += 1
        return super().seal(values, **place)


async def test_the_event_loop_stays_free_for_others(rotated: Rotated) -> None:
    """Whatever else waits for its turn gets it after some rows, not after the batch."""
    await rotated.add(100)
    keys = [MasterKey(key.get_secret_value()) for key in (rotated.new_key, rotated.old_key)]
    counting = Counting(keys, b"no fingerprint is made here")
    at_a_time = [0]

    async def tick() -> None:
        while True:
            before = counting.sealed
            await asyncio.sleep(0)
            at_a_time.append(counting.sealed - before)

    ticking = asyncio.create_task(tick())
    assert await reseal(rotated.database, counting, batch=100) == Progress(total=100, done=100)
    ticking.cancel()
    assert sum(at_a_time) == 100
    assert max(at_a_time) <= 20


async def test_an_outdated_keyring_moves_nothing_back(rotated: Rotated) -> None:
    await rotated.add(3)
    await reseal(rotated.database, rotated.after)
    before = await dump(rotated.database)
    for refused in (
        reseal(rotated.database, rotated.before),
        retire_unused(rotated.database, rotated.before),
    ):
        with pytest.raises(FailedPrecondition, match="superseded") as refusal:
            await refused
        assert refusal.value.reason == "ENCRYPTION_KEY_SUPERSEDED"
    assert await dump(rotated.database) == before


# Compare and swap


async def in_hand(rotated: Rotated) -> sealed_rows.SealedRow:
    """The one row as a rotator that is about to write holds it."""
    async with rotated.database.autocommit() as connection:
        [row] = await sealed_rows.batch(connection, rotated.old_id, after=None, size=10)
    values = rotated.after.open(
        row.sealed, key_id=rotated.old_id, client_id=row.client_id, row_id=row.id, secret_version=1
    )
    _, sealed = rotated.after.seal(values, client_id=row.client_id, row_id=row.id, secret_version=1)
    return replace(row, sealed=sealed)


async def swap(rotated: Rotated, row: sealed_rows.SealedRow) -> set[UUID]:
    async with rotated.database.transaction() as connection:
        return await sealed_rows.swap(connection, [row], old_key_id=rotated.old_id, new_key_id=rotated.new_id)


async def test_replaced_secrets_are_not_overwritten(rotated: Rotated) -> None:
    [row_id] = await rotated.add(1)
    row = await in_hand(rotated)
    # By a replica that still seals with the old key: only the version tells.
    values, replacement = rotated.replacement(row_id, rotated.before)
    async with rotated.database.transaction() as connection:
        assert await api_keys.replace_secrets(connection, row_id, replacement, expected_version=1)
    assert await swap(rotated, row) == set()
    assert (await rotated.rows())[row_id].open(rotated.after) == values
    assert await reseal(rotated.database, rotated.after) == Progress(total=1, done=1)
    assert (await rotated.rows())[row_id].open(rotated.after) == values


async def test_erased_secrets_do_not_come_back(rotated: Rotated) -> None:
    [row_id] = await rotated.add(1)
    row = await in_hand(rotated)
    async with rotated.database.transaction() as connection:
        await api_keys.delete(connection, row_id, erase=True)
    assert await swap(rotated, row) == set()
    assert (await rotated.rows())[row_id].open(rotated.after) == {}


async def test_what_another_rotator_moved_is_not_moved_again(rotated: Rotated) -> None:
    await rotated.add(1)
    row = await in_hand(rotated)
    assert await swap(rotated, row) == {row.id}
    before = await dump(rotated.database)
    assert await swap(rotated, row) == set()
    assert await dump(rotated.database) == before


async def test_a_change_of_something_else_is_kept_and_the_row_moved(rotated: Rotated) -> None:
    [row_id] = await rotated.add(1)
    row = await in_hand(rotated)
    async with rotated.database.transaction() as connection:
        renamed = await api_keys.rename(connection, row_id, "main")
    assert await swap(rotated, row) == {row_id}
    async with rotated.database.autocommit() as connection:
        state = "SELECT label, updated_at FROM exchange_api_keys"
        assert (await connection.execute(text(state))).one() == ("main", renamed.updated_at)


async def test_a_row_that_somebody_holds_is_left_for_the_next_pass(rotated: Rotated) -> None:
    held, *_ = await rotated.add(10)
    told: list[Progress] = []
    first_pass = asyncio.Event()

    def note(progress: Progress) -> None:
        told.append(progress)
        first_pass.set()

    async with rotated.database.transaction() as connection:
        await connection.execute(
            text("SELECT FROM exchange_api_keys WHERE id = :id FOR UPDATE"), {"id": held}
        )
        running = asyncio.create_task(reseal(rotated.database, rotated.after, progress=note))
        await asyncio.wait_for(first_pass.wait(), PATIENCE)
    reached = await asyncio.wait_for(running, PATIENCE)
    assert told[0] == Progress(total=10, done=9, lost=1)
    assert (reached.done, reached.unreadable) == (10, 0)


async def test_rows_of_replicas_that_lag_behind_are_caught_up_with(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rotated.add(10)
    batch, late = sealed_rows.batch, list[UUID]()

    async def meanwhile(*args: Any, **named: Any) -> Any:
        rows = await batch(*args, **named)
        if not late:
            late.extend(await rotated.add(5))
        return rows

    monkeypatch.setattr(sealed_rows, "batch", meanwhile)
    assert await reseal(rotated.database, rotated.after) == Progress(total=10, done=15)


async def test_it_gives_up_on_a_replica_that_never_stops_and_says_what_is_left(rotated: Rotated) -> None:
    """Rows that are held throughout are lost in every pass: the run ends all the same."""
    held, *_ = await rotated.add(3)
    async with rotated.database.transaction() as connection:
        await connection.execute(
            text("SELECT FROM exchange_api_keys WHERE id = :id FOR UPDATE"), {"id": held}
        )
        rotation = await asyncio.wait_for(rotate(rotated.database, rotated.after), PATIENCE)
    assert rotation.progress.done == 2
    assert rotation.progress.lost > 1
    assert rotation.left == 1


# Retiring


async def registered(database: Database) -> set[str]:
    async with database.autocommit() as connection:
        return {key.key_id for key in await encryption_keys.registered(connection)}


async def test_the_old_key_is_forgotten_once_it_is_dropped_and_no_row_names_it(rotated: Rotated) -> None:
    await rotated.add(3)
    rotation = await rotate(rotated.database, rotated.after)
    assert (rotation.left, rotation.retired) == (0, ())
    alone = await open_keyring(rotated.database, [rotated.new_key])
    rotation = await rotate(rotated.database, alone)
    assert (rotation.left, rotation.retired) == (0, (rotated.old_id,))
    assert await registered(rotated.database) == {rotated.new_id}
    # From now on it is a stranger, also to a replica that was forgotten.
    with pytest.raises(StartupError, match="new to this database"):
        await open_keyring(rotated.database, [rotated.old_key, rotated.new_key])


async def test_a_key_that_a_row_names_is_not_forgotten(rotated: Rotated) -> None:
    alone = await open_keyring(rotated.database, [rotated.new_key])
    [row_id] = await rotated.add(1)
    rotation = await rotate(rotated.database, alone)
    assert rotation.progress == Progress(total=1, unreadable=1)
    assert (rotation.left, rotation.retired) == (1, ())
    with pytest.raises(KeyUnreadable, match=rotated.old_id):
        (await rotated.rows())[row_id].open(alone)


async def test_a_key_that_stands_by_elsewhere_is_not_forgotten_and_can_be_promoted(rotated: Rotated) -> None:
    standby = new_key()
    await open_keyring(rotated.database, [rotated.new_key, rotated.old_key, standby])
    assert await retire_unused(rotated.database, rotated.after) == []
    await open_keyring(rotated.database, [standby, rotated.new_key, rotated.old_key])


async def test_rows_that_wait_for_adoption_are_counted(rotated: Rotated) -> None:
    await rotated.add(2)
    assert (await rotate(rotated.database, rotated.after)).waiting == 0
    await execute(rotated.database, "UPDATE exchange_api_keys SET key_id = NULL")
    rotation = await rotate(rotated.database, rotated.after)
    assert (rotation.left, rotation.waiting) == (0, 2)


async def test_a_key_that_is_just_being_promoted_is_not_forgotten(rotated: Rotated) -> None:
    newest = new_key()
    await open_keyring(rotated.database, [rotated.new_key, rotated.old_key, newest])
    async with rotated.database.transaction() as connection:
        await encryption_keys.lock(connection)
        await encryption_keys.promote(connection, id_of(newest))
        retiring = asyncio.create_task(retire_unused(rotated.database, rotated.after))
        await somebody_waits(rotated.database)
    with pytest.raises(FailedPrecondition, match="superseded"):
        await asyncio.wait_for(retiring, PATIENCE)
    assert id_of(newest) in await registered(rotated.database)


async def test_a_row_that_is_just_being_stored_keeps_its_key(rotated: Rotated) -> None:
    alone = await open_keyring(rotated.database, [rotated.new_key])
    [row_id] = await rotated.add(1)
    await reseal(rotated.database, rotated.after)
    _, replacement = rotated.replacement(row_id, rotated.before)
    async with rotated.database.transaction() as connection:
        await api_keys.replace_secrets(connection, row_id, replacement, expected_version=1)
        retiring = asyncio.create_task(retire_unused(rotated.database, alone))
        await somebody_waits(rotated.database)
        assert not retiring.done()
    assert await asyncio.wait_for(retiring, PATIENCE) == []


async def test_a_row_under_a_key_that_was_forgotten_is_refused_and_not_stored(rotated: Rotated) -> None:
    alone = await open_keyring(rotated.database, [rotated.new_key])
    [row_id] = await rotated.add(1)
    await reseal(rotated.database, rotated.after)
    await retire_unused(rotated.database, alone)
    _, replacement = rotated.replacement(row_id, rotated.before)
    database = Database(rotated.database.options, CONFLICTS)
    with pytest.raises(Unavailable, match="restarted") as refusal:
        async with database.transaction() as connection:
            await api_keys.replace_secrets(connection, row_id, replacement, expected_version=1)
    assert refusal.value.reason == "ENCRYPTION_KEY_RETIRED"
    await database.close()
    assert (await rotated.rows())[row_id].open(alone) == rotated.values[row_id]


async def somebody_waits(database: Database) -> None:
    statement = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(PATIENCE):
        while True:
            async with database.autocommit() as connection:
                if (await connection.execute(statement)).scalar_one():
                    return
            await asyncio.sleep(0.01)
