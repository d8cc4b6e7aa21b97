"""The error table's rows of PostgreSQL, with what it really raises."""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database.engine import ATTEMPTS, Database
from servicekit.database.errors import Conflict
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl, parse_url
from tests.support.logged import lines
from tests.support.service_process import free_port
from tests.support.statuses import INTERNAL, REQUEST_ID, Raise, status, told
from tests.support.tables import Owner, Sample, Thing

CONFLICTS = {"uq_things_secret_live": Conflict("SECRET_TAKEN", "Such a thing is there already.")}
MakeDatabase = Callable[..., Database]


@pytest.fixture
async def make_database(database_url: DatabaseUrl) -> AsyncIterator[MakeDatabase]:
    """Databases of the options that a test names, with the sample tables in them."""
    made: list[Database] = []

    def make(url: DatabaseUrl = database_url, **options: Any) -> Database:
        made.append(Database(DatabaseOptions(url=url, **options), CONFLICTS))
        return made[-1]

    async with make().transaction() as connection:
        await connection.run_sync(Sample.metadata.create_all)
    yield make
    for database in made:
        await database.close()


def in_transaction(database: Database, work: Callable[[AsyncConnection], Awaitable[None]]) -> Raise:
    async def behind() -> None:
        async with database.transaction() as connection:
            await work(connection)

    return behind


def executes(statement: str) -> Callable[[AsyncConnection], Awaitable[None]]:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(statement))

    return work


async def two_things(connection: AsyncConnection, **fields: str) -> None:
    """The same thing twice, for one owner."""
    owner = (await connection.execute(insert(Owner).values(name="x").returning(Owner.id))).scalar_one()
    for number in range(2):
        await connection.execute(insert(Thing).values(**{"owner_id": owner, "label": str(number), **fields}))


async def test_a_unique_violation_has_the_reason_of_its_constraint(make_database: MakeDatabase) -> None:
    secret = secrets.token_hex()
    behind = in_transaction(make_database(), lambda connection: two_things(connection, secret=secret))
    assert await told(behind) == status("ALREADY_EXISTS", "Such a thing is there already.", "SECRET_TAKEN")


async def test_a_unique_violation_of_a_constraint_without_a_meaning_says_just_that(
    make_database: MakeDatabase,
) -> None:
    behind = in_transaction(make_database(), lambda connection: two_things(connection, label="same"))
    assert await told(behind) == status("ALREADY_EXISTS", "That exists already.", "ALREADY_EXISTS")


AWAY_STATUS = status(
    "UNAVAILABLE",
    "The database can't be reached; if this was a change, whether it was stored is unknown.",
    "DATABASE_UNAVAILABLE",
)


async def test_a_connection_that_is_lost_is_unavailable(make_database: MakeDatabase) -> None:
    other = make_database()

    async def work(connection: AsyncConnection) -> None:
        backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with other.autocommit() as killer:
            await killer.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": backend})
        await connection.execute(text("SELECT 1"))

    assert await told(in_transaction(make_database(), work)) == AWAY_STATUS


async def test_a_database_that_is_not_there_is_unavailable(make_database: MakeDatabase) -> None:
    nowhere = parse_url(f"postgresql://someone@127.0.0.1:{free_port()}/nowhere")
    assert await told(in_transaction(make_database(nowhere), executes("SELECT 1"))) == AWAY_STATUS


async def test_a_pool_that_has_no_connection_to_spare_is_unavailable(make_database: MakeDatabase) -> None:
    database = make_database(pool_size=1, pool_timeout=timedelta(milliseconds=50))
    async with database.transaction():
        got = await told(in_transaction(database, executes("SELECT 1")))
    message = "The service has more work than database connections; try again shortly."
    assert got == status("UNAVAILABLE", message, "DATABASE_BUSY")


TOO_LATE = status("DEADLINE_EXCEEDED", "The database took too long to answer.", "DATABASE_TIMEOUT")


async def test_a_statement_that_takes_too_long_is_a_deadline(make_database: MakeDatabase) -> None:
    database = make_database(statement_timeout=timedelta(milliseconds=100))
    assert await told(in_transaction(database, executes("SELECT pg_sleep(60)"))) == TOO_LATE


async def test_a_lock_that_takes_too_long_is_a_deadline(make_database: MakeDatabase) -> None:
    database = make_database()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
        await connection.execute(text("LOCK TABLE owners"))

    async with make_database().transaction() as holder:
        await holder.execute(text("LOCK TABLE owners"))
        assert await told(in_transaction(database, work)) == TOO_LATE


CONFLICT = status("ABORTED", "Another change got in the way each time; try again.", "DATABASE_CONFLICT")


async def test_a_serialization_failure_that_never_ends_is_aborted(make_database: MakeDatabase) -> None:
    database, other, attempts = make_database(), make_database(), 0
    async with other.transaction() as connection:
        await connection.execute(text("INSERT INTO owners (name) VALUES ('x')"))

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text("SELECT name FROM owners"))
        async with other.transaction() as faster:
            await faster.execute(text("UPDATE owners SET name = name || 'y'"))
        await connection.execute(text("UPDATE owners SET name = 'mine'"))

    async def behind() -> None:
        await database.run(work, isolation="REPEATABLE READ")

    assert await told(behind) == CONFLICT
    assert attempts == ATTEMPTS


async def test_a_deadlock_that_never_ends_is_aborted(make_database: MakeDatabase) -> None:
    database, other, attempts = make_database(), make_database(), 0
    lock = text("SELECT pg_advisory_xact_lock(:number)")

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        # Ours looks for deadlocks sooner, so that it is the one that PostgreSQL gives up.
        await connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        await connection.execute(lock, {"number": 1})
        async with other.transaction() as blocker:
            await blocker.execute(lock, {"number": 2})
            wanting = asyncio.ensure_future(blocker.execute(lock, {"number": 1}))
            try:
                await _until_someone_waits(make_database())
                await connection.execute(lock, {"number": 2})
            finally:
                await wanting

    async def behind() -> None:
        await database.run(work)

    assert await told(behind) == CONFLICT
    assert attempts == ATTEMPTS


async def _until_someone_waits(database: Database) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    async with asyncio.timeout(20), database.autocommit() as connection:
        while not (await connection.execute(waiting)).scalar_one():  # noqa: ASYNC110 - inside PostgreSQL
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1/0",
        "SELECT nothing FROM nowhere",
        "INSERT INTO things (secret) VALUES ('{secret}')",
        "SELECT '{secret}'::int",
    ],
)
async def test_anything_else_that_the_database_says_is_internal_and_stays_inside(
    make_database: MakeDatabase, statement: str, output: io.StringIO
) -> None:
    secret = secrets.token_hex()
    behind = in_transaction(make_database(), executes(statement.format(secret=secret)))
    assert await told(behind) == INTERNAL
    [logged] = [line for line in lines(output) if line["event"] == "unforeseen error"]
    assert logged["request_id"] == REQUEST_ID
