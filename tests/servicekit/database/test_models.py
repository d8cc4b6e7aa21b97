"""What the shared columns promise, whoever writes the row."""

import asyncpg
import pytest
from sqlalchemy import exc, insert, text, update

from servicekit.database.engine import Database
from servicekit.errors import Internal
from tests.support.tables import Colour, Owner, Thing


async def test_plain_sql_that_names_no_time_leaves_no_null(database: Database) -> None:
    async with database.transaction() as connection:
        row = (
            (await connection.execute(text("INSERT INTO owners (name) VALUES ('x') RETURNING *")))
            .one()
            ._mapping
        )
    assert None not in row.values()
    assert row["created_at"].utcoffset() is not None
    assert row["created_at"] == row["updated_at"]


async def test_an_update_through_the_model_moves_updated_at(database: Database) -> None:
    async with database.transaction() as connection:
        made = (await connection.execute(insert(Owner).values(name="x").returning(Owner))).one()
        changed = (await connection.execute(update(Owner).values(name="y").returning(Owner))).one()
    assert changed.updated_at > made.updated_at
    assert changed.created_at == made.created_at


async def test_an_enum_is_stored_by_its_value_and_no_other_is_taken(database: Database) -> None:
    async with database.transaction() as connection:
        owner = (await connection.execute(insert(Owner).values(name="x").returning(Owner.id))).scalar_one()
        await connection.execute(insert(Thing).values(owner_id=owner, colour=Colour.DEEP_BLUE))
        stored = (await connection.execute(text("SELECT colour FROM things"))).scalar_one()
        read = (await connection.execute(Thing.__table__.select())).one().colour
    assert stored == "deep-blue"
    assert read is Colour.DEEP_BLUE
    with pytest.raises(Internal) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE things SET colour = 'DEEP_BLUE'"))
    assert _constraint(refusal.value) == "ck_things_colour_known"


@pytest.mark.parametrize("change", ["is_deleted = true", "deleted_at = now()"])
async def test_a_row_is_deleted_exactly_when_it_says_since_when(database: Database, change: str) -> None:
    async with database.transaction() as connection:
        owner = (await connection.execute(insert(Owner).values(name="x").returning(Owner.id))).scalar_one()
        await connection.execute(insert(Thing).values(owner_id=owner))
    with pytest.raises(Internal) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text(f"UPDATE things SET {change}"))  # noqa: S608 - the parameters above
    assert _constraint(refusal.value) == "ck_things_is_deleted_exactly_when_deleted_at"


def _constraint(error: Internal) -> str | None:
    cause = error.__cause__
    assert isinstance(cause, exc.DBAPIError)
    assert cause.orig is not None
    original = cause.orig.__cause__
    assert isinstance(original, asyncpg.PostgresError)
    return str(original.constraint_name)


def test_every_time_is_the_databases_whoever_writes_the_row() -> None:
    columns = Owner.__table__.c
    for default in (columns.created_at.default, columns.updated_at.default, columns.updated_at.onupdate):
        assert default is not None
        assert default.is_clause_element


async def test_a_change_that_waited_for_another_one_is_the_later_of_the_two(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(Owner).values(name="x"))
    async with database.transaction() as later:
        await later.execute(text("SELECT 1"))
        async with database.transaction() as sooner:
            first = (await sooner.execute(update(Owner).values(name="y").returning(Owner.updated_at))).one()
        second = (await later.execute(update(Owner).values(name="z").returning(Owner.updated_at))).one()
    assert second.updated_at > first.updated_at
