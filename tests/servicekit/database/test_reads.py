"""Reads outside of a transaction: what they return, and what happens when their connection is lost."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import ARRAY, Uuid, any_, bindparam, column, insert, select, text
from sqlalchemy.sql.expression import TextualSelect

from servicekit.database.engine import Database
from servicekit.database.reads import Prepared
from servicekit.errors import DeadlineExceeded, Internal, Unavailable
from tests.support.tables import Colour, Owner, Thing

MakeDatabase = Callable[..., Database]
Read = Callable[[Database, str], Awaitable[object]]


async def by_sqlalchemy(database: Database, statement: str) -> object:
    """Any SELECT, executed."""
    return (await database.reads.execute(columns(statement))).one()[0]


async def by_the_driver(database: Database, statement: str) -> object:
    """The same, prepared."""
    row = await database.reads.first(Prepared(select(columns(statement).subquery())), {})
    assert row is not None
    return row[0]


def columns(statement: str) -> TextualSelect:
    return text(f"SELECT ({statement}) AS found").columns(column("found"))


both = pytest.mark.parametrize("read", [by_sqlalchemy, by_the_driver])


@pytest.fixture
async def things(database: Database) -> list[uuid.UUID]:
    """Two things of one owner, and one of another."""
    owners, ids = [uuid.uuid4() for _ in range(2)], [uuid.uuid4() for _ in range(3)]
    async with database.transaction() as connection:
        await connection.execute(insert(Owner), [{"id": each, "name": "x"} for each in owners])
        rows = [
            {"id": ids[0], "owner_id": owners[0], "label": "a", "colour": Colour.DEEP_BLUE},
            {"id": ids[1], "owner_id": owners[0], "label": "b", "colour": Colour.RED},
            {"id": ids[2], "owner_id": owners[1], "label": "c", "colour": Colour.RED},
        ]
        await connection.execute(insert(Thing), rows)
    return ids


THING = Prepared(select(Thing.id, Thing.label, Thing.colour, Thing.secret).where(Thing.id == bindparam("id")))


async def test_a_prepared_read_has_the_models_types(database: Database, things: list[uuid.UUID]) -> None:
    assert await database.reads.first(THING, {"id": things[0]}) == (things[0], "a", Colour.DEEP_BLUE, None)


async def test_a_prepared_read_of_nothing_is_none(database: Database, things: list[uuid.UUID]) -> None:
    assert await database.reads.first(THING, {"id": uuid.uuid4()}) is None


async def test_parameters_are_given_by_name_in_the_types_of_the_statement(
    database: Database, things: list[uuid.UUID]
) -> None:
    among = any_(bindparam("ids", type_=ARRAY(Uuid)))
    colour = bindparam("colour", type_=Thing.colour.type)
    prepared = Prepared(select(Thing.label).where(Thing.colour == colour, Thing.id == among))
    values: dict[str, Any] = {"ids": things[:2], "colour": Colour.RED}
    assert await database.reads.first(prepared, values) == ("b",)


async def test_a_read_without_one_of_its_parameters_is_a_mistake(database: Database) -> None:
    with pytest.raises(KeyError):
        await database.reads.first(THING, {})


async def test_rows_need_no_connection_any_more(database: Database, things: list[uuid.UUID]) -> None:
    found = await database.reads.execute(select(Thing.id))
    assert database.pool.checkedout() == 0
    assert set(found.scalars()) == set(things)


@both
async def test_a_read_holds_no_transaction_open(database: Database, read: Read) -> None:
    assert await read(database, "now()") != await read(database, "now()")


@both
async def test_a_read_whose_connection_is_lost_is_done_once_more(database: Database, read: Read) -> None:
    await count(database)
    lost_at_first = "CASE nextval('tries') WHEN 1 THEN pg_terminate_backend(pg_backend_pid()) ELSE false END"
    assert await read(database, lost_at_first) is False
    assert await read(database, "nextval('tries')") == 3
    assert database.pool.checkedout() == 0


@both
async def test_a_read_that_loses_its_connection_again_is_unavailable(database: Database, read: Read) -> None:
    await count(database)
    with pytest.raises(Unavailable) as refusal:
        await read(database, "nextval('tries') > 0 AND pg_terminate_backend(pg_backend_pid())")
    assert refusal.value.reason == "DATABASE_UNAVAILABLE"
    assert await read(database, "nextval('tries')") == 3


@both
async def test_a_read_that_the_database_refuses_is_not_repeated(database: Database, read: Read) -> None:
    await count(database)
    with pytest.raises(Internal):
        await read(database, "1 / (nextval('tries') - nextval('tries') + 1)")
    assert await read(database, "nextval('tries')") == 3
    assert database.pool.checkedout() == 0


@both
async def test_a_read_that_is_cancelled_leaves_a_pool_that_works(
    make_database: MakeDatabase, read: Read
) -> None:
    database = make_database(pool_size=1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read(database, "SELECT 1 FROM pg_sleep(60)")
    assert await read(database, "SELECT 2") == 2


@both
async def test_a_server_that_says_nothing_is_a_deadline_and_its_connection_is_dropped(
    make_database: MakeDatabase, read: Read, run_out: Callable[[], None]
) -> None:
    database = make_database(pool_size=1, statement_timeout=timedelta(hours=1))
    before = await read(database, "pg_backend_pid()")
    asking = asyncio.ensure_future(read(database, "SELECT 1 FROM pg_sleep(600)"))
    await sleeps(make_database(), before)
    run_out()
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(asking, 30)
    assert await read(database, "pg_backend_pid()") != before


async def sleeps(database: Database, pid: object) -> None:
    """Until that backend is in the midst of a pg_sleep."""
    asleep = text("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = :pid")
    async with asyncio.timeout(30), database.autocommit() as connection:
        while not (await connection.execute(asleep, {"pid": pid})).scalar_one():  # noqa: ASYNC110 - inside PostgreSQL
            await asyncio.sleep(0.01)


async def count(database: Database) -> None:
    """What counts tries even where they are rolled back."""
    async with database.transaction() as connection:
        await connection.execute(text("CREATE SEQUENCE tries"))
