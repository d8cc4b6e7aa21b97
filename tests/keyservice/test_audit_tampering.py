"""Whatever is done to the record is found where it changes anything that is sealed, and only there."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice.audit_verification import verify
from keyservice.keyring import open_keyring
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from tests.support.audit import add_events, seal_batches
from tests.support.sealed import new_key

SEALED = (2, 3, 1, 4)
UNSEALED = 2
# With positions that nobody has, before, between and behind the others.
POSITIONS = st.integers(-1, sum(SEALED) + UNSEALED + 2)
NUMBERS = st.integers(1, len(SEALED) + 1)

Step = tuple[str, dict[str, Any]]


def _step(statement: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(statement), st.fixed_dictionaries(values))


STEPS = st.one_of(
    _step(
        "UPDATE audit_events SET principal = :text WHERE position = :at",
        at=POSITIONS,
        text=st.sampled_from("ab"),
    ),
    _step("UPDATE audit_events SET created_at = now() WHERE position = :at", at=POSITIONS),
    _step("DELETE FROM audit_events WHERE position = :at", at=POSITIONS),
    _step("DELETE FROM audit_events WHERE position >= :at", at=POSITIONS),
    _step(
        "INSERT INTO audit_events (position, principal, action) SELECT :at, 'p', 'a'"
        " WHERE NOT EXISTS (SELECT FROM audit_events WHERE position = :at)",
        at=POSITIONS,
    ),
    # The constraint on positions is deferrable for this, so that two rows can change places.
    _step(
        "UPDATE audit_events SET position = CASE position WHEN :one THEN :other ELSE :one END"
        " WHERE position IN (:one, :other)",
        one=POSITIONS,
        other=POSITIONS,
    ),
    _step("UPDATE audit_seals SET event_count = event_count + 1 WHERE number = :number", number=NUMBERS),
    _step("UPDATE audit_seals SET digest = sha256(digest) WHERE number = :number", number=NUMBERS),
    _step("DELETE FROM audit_seals WHERE number = :number", number=NUMBERS),
    _step("DELETE FROM audit_seals WHERE number >= :number", number=NUMBERS),
)


async def sealed_part(connection: AsyncConnection, last: int) -> list[Any]:
    """All that the seals vouch for, and the seals."""
    seals = await connection.execute(text("SELECT * FROM audit_seals ORDER BY number"))
    events = await connection.execute(
        text("SELECT * FROM audit_events WHERE position <= :last ORDER BY position"), {"last": last}
    )
    return [*seals, *events]


def test_what_changes_the_sealed_part_is_found_and_what_does_not_is_not(database_url: DatabaseUrl) -> None:
    with asyncio.Runner() as runner:
        database = Database(DatabaseOptions(url=database_url, pool_size=1))
        keyring = runner.run(open_keyring(database, [new_key()]))
        runner.run(seal_batches(database, keyring, *SEALED))
        runner.run(add_events(database, UNSEALED))
        whole = runner.run(verify(database.reads, keyring))

        async def tamper(steps: Sequence[Step]) -> None:
            async with database.transaction() as connection:
                before = await sealed_part(connection, sum(SEALED))
                for statement, values in steps:
                    await connection.execute(text(statement), values)
                unchanged = await sealed_part(connection, sum(SEALED)) == before
                proof = await verify(connection, keyring, whole.head)
                await connection.rollback()
            assert (proof.told == []) is unchanged

        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(STEPS, min_size=1, max_size=3))
        def prove(steps: list[Step]) -> None:
            runner.run(tamper(steps))

        try:
            runner.run(_let_positions_wait(database))
            prove()
        finally:
            runner.run(database.close())


async def _let_positions_wait(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE audit_events DROP CONSTRAINT uq_audit_events_position"))
        unique = "UNIQUE (position) DEFERRABLE INITIALLY IMMEDIATE"
        await connection.execute(text(f"ALTER TABLE audit_events ADD CONSTRAINT p {unique}"))
