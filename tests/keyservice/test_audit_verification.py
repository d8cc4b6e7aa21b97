"""Every tampering with the audit record is found, whoever did it with whatever rights, as long as he lacks the key."""

from typing import Any

import pytest
from sqlalchemy import text

from keyservice import audit_verification, models
from keyservice.audit_verification import Checkpoint, Proof, verify
from keyservice.keyring import Keyring, open_keyring
from keyservice.store import audit_seals
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition
from tests.support.audit import add_events, seal_batches, sealer, skip_positions
from tests.support.sealed import new_key

BATCHES = (3, 1, 4, 2)
UNSEALED = 2
SEALED = sum(BATCHES)

# Another value in a column of a row, whatever it was.
OTHER = {
    "position": "position = position + 100000",
    "id": "id = gen_random_uuid()",
    "created_at": "created_at = created_at + interval '1 microsecond'",
    "principal": "principal = principal || ' '",
    "action": "action = 'DeleteApiKey2'",
    "client_id": "client_id = gen_random_uuid()",
    "api_key_id": "api_key_id = gen_random_uuid()",
    "request_id": "request_id = ''",
    "outcome": "outcome = 'KEY_UNREADABLE'",
    "details": "details = details || '{\"a\": 1}'",
}
OTHER_IN_SEAL = {
    "number": "number = number + 100",
    "encoding": "encoding = 2",
    "first_position": "first_position = first_position - 1",
    "last_position": "last_position = last_position + 1",
    "event_count": "event_count = event_count + 1",
    "digest": "digest = sha256(digest)",
    "previous_mac": "previous_mac = sha256(previous_mac)",
    "mac": "mac = sha256(mac)",
    "created_at": "created_at = created_at - interval '1 microsecond'",
}


class Record:
    """A record of some seals and some events that are not sealed yet, for somebody to tamper with."""

    def __init__(self, database: Database, keyring: Keyring, head: Checkpoint, positions: list[int]) -> None:
        self.database = database
        self.keyring = keyring
        self.head = head
        self.positions = positions
        """Of all events, the sealed ones first."""

    async def after(
        self,
        *statements: str,
        checkpoint: Checkpoint | None = None,
        only_since: bool = False,
        **places: int,
    ) -> Proof:
        """What is found where somebody did this. It is undone again."""
        async with self.database.transaction() as connection:
            for statement in statements:
                await connection.execute(text(statement), places)
            proof = await verify(connection, self.keyring, checkpoint, only_since=only_since)
            await connection.rollback()
        assert len(proof.told) == proof.findings
        return proof


@pytest.fixture
async def record(database: Database) -> Record:
    keyring = await open_keyring(database, [new_key()])
    await skip_positions(database)
    await seal_batches(database, keyring, *BATCHES[:2])
    await skip_positions(database)
    await seal_batches(database, keyring, *BATCHES[2:])
    await add_events(database, UNSEALED)
    proof = await verify(database.reads, keyring)
    assert proof.told == []
    assert (proof.seals, proof.events, proof.unsealed) == (len(BATCHES), SEALED, UNSEALED)
    assert proof.head is not None
    events = await audit_seals.events(database.reads, after=0, size=100)
    return Record(database, keyring, proof.head, [event.position for event in events])


def test_the_tamperings_here_are_with_every_column_of_both_tables() -> None:
    assert OTHER.keys() == set(models.AuditEvent.__table__.columns.keys())
    assert OTHER_IN_SEAL.keys() == set(models.AuditSeal.__table__.columns.keys())


@pytest.mark.parametrize("column", OTHER)
async def test_an_event_of_which_anything_was_edited_is_found(record: Record, column: str) -> None:
    edit = f"UPDATE audit_events SET {OTHER[column]} WHERE position = :place"  # noqa: S608 - ours
    for place in (0, 4, SEALED - 1):
        proof = await record.after(edit, place=record.positions[place])
        [told] = proof.told
        assert told.startswith("Missing" if column == "position" else "Not what it was")


async def test_a_null_and_an_empty_text_are_told_apart(record: Record) -> None:
    proof = await record.after(
        "ALTER TABLE audit_events ALTER COLUMN request_id DROP NOT NULL",
        "UPDATE audit_events SET request_id = NULL",
    )
    assert proof.findings == len(BATCHES)


async def test_text_that_moved_from_one_column_into_the_next_is_found(record: Record) -> None:
    proof = await record.after(
        "UPDATE audit_events SET principal = principal || left(action, 1), action = substr(action, 2)"
        " WHERE position = :place",
        place=record.positions[0],
    )
    assert proof.findings == 1


async def test_an_event_that_was_removed_is_found(record: Record) -> None:
    for place, first in ((0, 0), (3, 3), (5, 4), (SEALED - 1, SEALED - BATCHES[-1])):
        proof = await record.after(
            "DELETE FROM audit_events WHERE position = :place", place=record.positions[place]
        )
        [told] = proof.told
        assert told.startswith("Missing under seal ")
        assert f"positions {record.positions[first]} to " in told


@pytest.mark.parametrize(("one", "other"), [(0, 1), (2, 3), (0, SEALED - 1)])
async def test_two_events_that_changed_places_are_found(record: Record, one: int, other: int) -> None:
    proof = await record.after(
        "UPDATE audit_events SET position = -1 WHERE position = :one",
        "UPDATE audit_events SET position = :one WHERE position = :other",
        "UPDATE audit_events SET position = :other WHERE position = -1",
        one=record.positions[one],
        other=record.positions[other],
    )
    assert proof.findings in (1, 2)
    assert all(each.startswith("Not what it was") for each in proof.told)


async def test_an_event_that_was_slipped_in_is_found_wherever_there_is_room(record: Record) -> None:
    between = record.positions[BATCHES[0] + BATCHES[1]] - 1
    for position in (-5, 0, between):
        proof = await record.after(
            "INSERT INTO audit_events (position, principal, action) VALUES (:place, 'p', 'a')", place=position
        )
        [told] = proof.told
        assert told.startswith("Too many under seal ")


async def test_events_that_were_replaced_by_others_of_their_number_are_found(record: Record) -> None:
    one, other = record.positions[4:6]
    proof = await record.after(
        "DELETE FROM audit_events WHERE position IN (:one, :other)",
        "INSERT INTO audit_events (position, principal, action) VALUES (:one, 'p', 'a'), (:other, 'p', 'a')",
        one=one,
        other=other,
    )
    assert proof.findings == 1


async def test_a_tail_that_was_cut_off_is_found_by_the_seals_that_are_left(record: Record) -> None:
    proof = await record.after(
        "DELETE FROM audit_events WHERE position >= :place", place=record.positions[SEALED - 1]
    )
    assert len(proof.told) == 1


async def test_a_tail_that_was_cut_off_with_its_seals_is_found_by_the_checkpoint_only(record: Record) -> None:
    cut = (
        "DELETE FROM audit_seals WHERE number >= 4",
        "DELETE FROM audit_events WHERE position >= :place",
    )
    place = record.positions[SEALED - BATCHES[3]]
    assert (await record.after(*cut, place=place)).told == []
    proof = await record.after(*cut, place=place, checkpoint=record.head)
    assert proof.told == ["The record was cut off: the checkpoint names seal 4, and it ends with seal 3."]
    proof = await record.after("TRUNCATE audit_events, audit_seals", checkpoint=record.head)
    assert proof.told == [
        "The record was cut off: the checkpoint names seal 4, and it ends with none at all."
    ]


async def test_a_record_that_was_cut_off_and_has_grown_again_is_not_the_checkpoints(record: Record) -> None:
    database = record.database
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM audit_seals"))
        await connection.execute(text("UPDATE audit_events SET principal = 'nobody'"))
    for _ in range(5):
        await sealer(database, record.keyring).once()
        await add_events(database, 1)
    assert (await verify(database.reads, record.keyring)).told == []
    proof = await verify(database.reads, record.keyring, record.head)
    assert proof.told == ["Seal 4 is another one than the checkpoint's."]


@pytest.mark.parametrize("column", OTHER_IN_SEAL)
async def test_a_seal_of_which_anything_was_edited_is_found(record: Record, column: str) -> None:
    edit = f"UPDATE audit_seals SET {OTHER_IN_SEAL[column]} WHERE number = :number"  # noqa: S608 - ours
    for number in (1, 2, 4):
        proof = await record.after(edit, number=number)
        assert proof.findings
        if column != "number":
            assert proof.told == [f"Seal {number} was changed, or was not made by keybridge."]


async def test_a_seal_that_was_removed_is_found_and_its_events_blamed_on_nobody(record: Record) -> None:
    for number in (1, 2, 3):
        proof = await record.after("DELETE FROM audit_seals WHERE number = :number", number=number)
        assert proof.told == [f"Seal {number} is missing."]
        assert proof.events == SEALED - BATCHES[number - 1]


async def test_seals_that_were_removed_together_are_one_finding(record: Record) -> None:
    proof = await record.after("DELETE FROM audit_seals WHERE number IN (2, 3)")
    assert proof.told == ["Seals 2 to 3 are missing."]


async def test_a_chain_of_which_a_link_was_taken_out_and_the_rest_numbered_anew_is_found(
    record: Record,
) -> None:
    proof = await record.after(
        "DELETE FROM audit_seals WHERE number = 2",
        "DELETE FROM audit_events WHERE position = :place",
        "UPDATE audit_seals SET number = 2 WHERE number = 3",
        "UPDATE audit_seals SET number = 3 WHERE number = 4",
        place=record.positions[3],
    )
    assert proof.told == [f"Seal {number} was changed, or was not made by keybridge." for number in (2, 3)]


async def test_a_seal_of_another_chain_under_the_same_key_is_found(record: Record) -> None:
    """As it is left in an older copy of the database, which went another way."""
    database = record.database
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE kept AS TABLE audit_seals"))
        await connection.execute(text("DELETE FROM audit_seals WHERE number >= 2"))
    await sealer(database, record.keyring).once()
    await add_events(database, 1)
    await sealer(database, record.keyring).once()
    proof = await record.after(
        "DELETE FROM audit_seals WHERE number >= 3",
        "INSERT INTO audit_seals SELECT * FROM kept WHERE number = 3",
    )
    assert proof.told[0] == "Seal 3 was not made behind the one that lies before it."


async def test_seals_are_worth_nothing_under_another_key(record: Record) -> None:
    stranger = Keyring([*record.keyring._keys.values()], bytes(32))
    proof = await verify(record.database.reads, stranger)
    assert proof.findings == len(BATCHES)


async def test_a_seal_by_a_later_release_can_not_be_verified_and_is_no_finding(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verification, "ENCODING", 0)
    with pytest.raises(FailedPrecondition, match="made by a later release"):
        await verify(record.database.reads, record.keyring)


async def test_what_was_sealed_since_the_checkpoint_can_be_proved_alone(record: Record) -> None:
    assert await sealer(record.database, record.keyring).once() == UNSEALED
    only: dict[str, Any] = {"checkpoint": record.head, "only_since": True}
    proof = await record.after(**only)
    assert (proof.told, proof.seals, proof.events) == ([], 1, UNSEALED)
    assert proof.head is not None
    assert proof.head.number == len(BATCHES) + 1
    edit = "UPDATE audit_events SET principal = '' WHERE position = :place"
    assert (await record.after(edit, place=record.positions[-1], **only)).findings == 1
    another = Checkpoint(record.head.number, bytes(32))
    proof = await record.after(checkpoint=another, only_since=True)
    assert proof.told == ["Seal 4 is another one than the checkpoint's."]
    assert proof.events == SEALED + UNSEALED


async def test_with_nothing_new_since_the_checkpoint_it_stays_the_end(record: Record) -> None:
    proof = await record.after(checkpoint=record.head, only_since=True)
    assert (proof.told, proof.seals, proof.events, proof.unsealed) == ([], 0, 0, UNSEALED)
    assert proof.head == record.head


async def test_a_record_is_read_in_pages_whatever_lies_where_they_end(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in range(1, SEALED + 2):
        monkeypatch.setattr(audit_verification, "_EVENTS_AT_A_TIME", size)
        monkeypatch.setattr(audit_verification, "_SEALS_AT_A_TIME", size)
        proof = await verify(record.database.reads, record.keyring)
        assert (proof.told, proof.seals, proof.events) == ([], len(BATCHES), SEALED)


async def test_of_very_many_findings_only_some_are_told(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verification, "_MOST_TOLD", 2)
    async with record.database.transaction() as connection:
        await connection.execute(text("UPDATE audit_events SET principal = ''"))
    proof = await verify(record.database.reads, record.keyring)
    assert (len(proof.told), proof.findings) == (2, len(BATCHES))


async def test_an_empty_record_is_intact(database: Database) -> None:
    proof = await verify(database.reads, await open_keyring(database, [new_key()]))
    assert (proof.told, proof.seals, proof.events, proof.head) == ([], 0, 0, None)
