"""Whether the database is the one that this release was written for: its revision, and its tables as they
really are.

The models are made as temporary tables, looked at in the catalog beside the real ones, and rolled back. So
the server that prints one side prints the other, whatever its version, no snapshot has to be kept up, and
the service's role needs no right but TEMPORARY, which PostgreSQL gives to everyone by default.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import Connection, MetaData, Table, exc, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import revisions
from servicekit.database.catalog import TableFacts, read_tables
from servicekit.database.compare import compare_table
from servicekit.database.engine import Database
from servicekit.database.errors import driver_error
from servicekit.database.url import DatabaseUrl
from servicekit.errors import KeybridgeError, StartupError, Unavailable

_UPGRADE = "run `keybridge db upgrade`"


async def require_schema(database: Database, metadata: MetaData) -> None:
    """The step of the start: StartupError unless the database is at head and like the models."""
    async with _looking_at(database) as connection:
        wrong_revision = await check_head(connection)
        differences = [] if wrong_revision else await check_schema(connection, metadata)
    if wrong_revision:
        raise StartupError(wrong_revision)
    if differences:
        rest = f" (and {len(differences) - 1} more: see `keybridge db check`)" if differences[1:] else ""
        raise StartupError(f"The database differs from what this release expects: {differences[0]}{rest}")


async def at_head(database: Database) -> bool:
    """Whether there is nothing to migrate."""
    async with _looking_at(database) as connection:
        return await check_head(connection) is None


async def check_head(connection: AsyncConnection) -> str | None:
    """None when the database is at the newest revision; otherwise the sentence that says how it is not.

    StartupError where the revision can't be read at all.
    """
    return await connection.run_sync(_check_head)


async def check_schema(connection: AsyncConnection, metadata: MetaData) -> list[str]:
    """Every difference between the real tables and the models, a sentence each. Needs a transaction, changes
    nothing."""
    async with connection.begin_nested() as savepoint:
        try:
            return await connection.run_sync(_differences, metadata)
        except exc.DBAPIError as error:
            if not isinstance(driver_error(error), asyncpg.InsufficientPrivilegeError):
                raise
            return ["The schema can't be checked: grant TEMPORARY on this database to the service's role."]
        finally:
            await savepoint.rollback()


@asynccontextmanager
async def _looking_at(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with database.transaction() as connection:
            yield connection
    except KeybridgeError as error:
        raise StartupError(_failure(error, database.options.url)) from error


def _failure(error: KeybridgeError, url: DatabaseUrl) -> str:
    if isinstance(error, Unavailable):
        return f"The database at {url.where} was lost while its schema was looked at."
    kind = type(driver_error(error) or error).__name__
    return f"The database at {url.where} failed with {kind} while its schema was looked at."


def _check_head(connection: Connection) -> str | None:
    here, wanted = revisions.current_revision(connection), revisions.newest()
    if here == wanted:
        return None
    if here is None:
        return f"The database has never been migrated by keybridge (needed is revision {wanted}): {_UPGRADE}."
    if here in revisions.known():
        return f"The database is behind this release, at revision {here} instead of {wanted}: {_UPGRADE}."
    return revisions.ahead(here)


def _differences(connection: Connection, metadata: MetaData) -> list[str]:
    # Without its sequence, a default that draws from it could not even be written down.
    sentences = list(_missing_sequences(connection, metadata))
    if sentences:
        return sentences
    for schema in sorted({table.schema for table in metadata.tables.values()}, key=str):
        tables = [table for table in metadata.sorted_tables if table.schema == schema]
        expected = _as_modelled(connection, tables)
        real = read_tables(connection, schema, list(expected))
        for name, facts in sorted(expected.items()):
            sentences += compare_table(f"{schema}.{name}" if schema else name, facts, real.get(name))
    return sentences


def _missing_sequences(connection: Connection, metadata: MetaData) -> Iterator[str]:
    there = inspect(connection)
    for sequence in metadata._sequences.values():  # SQLAlchemy lists them nowhere else
        if not there.has_sequence(sequence.name, schema=sequence.schema):
            yield f"The sequence {sequence.name} is missing."


def _as_modelled(connection: Connection, tables: Sequence[Table]) -> Mapping[str, TableFacts]:
    """The facts of the models' tables of one schema, made for a moment. No foreign key crosses schemas: each
    schema belongs to one service, and neither reads the other's tables."""
    scratch = MetaData(naming_convention=tables[0].metadata.naming_convention)
    for table in tables:
        table.to_metadata(scratch, schema="pg_temp", referred_schema_fn=lambda *_: "pg_temp")
    with connection.begin_nested() as savepoint:
        scratch.create_all(connection, checkfirst=False)
        facts = read_tables(connection, None, [table.name for table in tables], temporary=True)
        savepoint.rollback()
    return facts
