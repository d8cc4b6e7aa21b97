"""Foreign errors become ours, and nothing that a caller or a log sees holds a value."""

import secrets
import traceback

import asyncpg
import pytest
from sqlalchemy import exc, text

from servicekit.database.engine import Database
from servicekit.database.errors import Conflict, translate
from servicekit.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    KeybridgeError,
    Unavailable,
)

SECRET_ROWS = text("INSERT INTO things (owner_id, label, secret) SELECT id, :label, :secret FROM owners")


async def add_things(database: Database, *labels: str, secret: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("INSERT INTO owners (name) VALUES ('x') ON CONFLICT DO NOTHING"))
        for label in labels:
            await connection.execute(SECRET_ROWS, {"label": label, "secret": secret})


def everything(error: BaseException) -> str:
    """All that a careless log could print of an error and of whatever hangs on it."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or any(link is other for other in seen):
            continue
        seen.append(link)
        waiting += [link.__cause__, link.__context__, getattr(link, "orig", None)]
    printed = "".join(traceback.format_exception(error))
    return printed + "".join(f"{link!s}{link!r}{link.args!r}{vars(link)!r}" for link in seen)


async def test_a_unique_violation_has_the_reason_of_its_constraint(database: Database) -> None:
    with pytest.raises(AlreadyExists) as refusal:
        await add_things(database, "a", "b", secret=secrets.token_hex(8))
    assert (refusal.value.reason, refusal.value.message) == ("SECRET_TAKEN", "Such a thing is there already.")


async def test_a_constraint_that_nobody_named_is_still_already_exists(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE plain (n int UNIQUE)"))
    with pytest.raises(AlreadyExists) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO plain VALUES (1), (1)"))
    assert refusal.value.reason == "ALREADY_EXISTS"


@pytest.mark.parametrize(
    ("statement", "parameter"),
    [
        ("SELECT CAST(CAST(:value AS text) AS int)", "{}"),  # a data exception quotes its input
        ("SELECT CAST(:value AS int)", "{}"),  # asyncpg quotes the argument that it can't encode
        ("DO $$ BEGIN RAISE EXCEPTION 'the secret is {}' USING DETAIL = '{}', HINT = '{}'; END $$", None),
        ("UPDATE things SET label = :value, amount = 0", "{}"),  # a CHECK quotes the whole row
        (
            "INSERT INTO things (owner_id, secret) SELECT id, :value FROM owners",
            "{}",
        ),  # unique: quotes the key
        ("INSERT INTO things (label) VALUES (:value)", "{}"),  # NOT NULL quotes the whole row
    ],
)
async def test_no_text_of_the_driver_and_no_value_comes_out(
    database: Database, statement: str, parameter: str | None
) -> None:
    secret = f"s3cr3t{secrets.token_hex(8)}"
    await add_things(database, "a", secret=secret)
    values = {"value": parameter.format(secret)} if parameter else {}
    with pytest.raises(KeybridgeError) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text(statement.replace("{}", secret)), values)
    shown = everything(refusal.value)
    if parameter:
        assert secret not in shown
    assert secret not in str(refusal.value)
    assert secret not in str(refusal.value.metadata)


async def test_the_log_still_learns_what_failed(database: Database) -> None:
    with pytest.raises(Internal) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO things (label) VALUES ('x')"))
    shown = everything(refusal.value)
    assert "23502/public/things/owner_id" in shown
    with pytest.raises(Internal) as refusal:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT nonsense"))
    assert 'column "nonsense" does not exist' in everything(refusal.value)
    assert "nonsense" not in str(refusal.value)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (asyncpg.SerializationError("x"), Aborted, "DATABASE_CONFLICT"),
        (asyncpg.DeadlockDetectedError("x"), Aborted, "DATABASE_CONFLICT"),
        (asyncpg.QueryCanceledError("x"), DeadlineExceeded, "DATABASE_TIMEOUT"),
        (asyncpg.LockNotAvailableError("x"), DeadlineExceeded, "DATABASE_TIMEOUT"),
        (TimeoutError("x"), DeadlineExceeded, "DATABASE_TIMEOUT"),
        (asyncpg.AdminShutdownError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.CrashShutdownError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.CannotConnectNowError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.TooManyConnectionsError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.ConnectionDoesNotExistError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.InvalidPasswordError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.ReadOnlySQLTransactionError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.InterfaceError("connection is closed"), Unavailable, "DATABASE_UNAVAILABLE"),
        (ConnectionResetError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (exc.DBAPIError("x", None, Exception("x"), connection_invalidated=True), Unavailable,
         "DATABASE_UNAVAILABLE"),
        (exc.TimeoutError("x"), Unavailable, "DATABASE_BUSY"),
        (asyncpg.ForeignKeyViolationError("x"), Internal, "DATABASE_ERROR"),
        (asyncpg.InternalClientError("x"), Unavailable, "DATABASE_UNAVAILABLE"),
        (asyncpg.InterfaceError("x"), Internal, "DATABASE_ERROR"),
        (asyncpg.PostgresError("x"), Internal, "DATABASE_ERROR"),
        (exc.InvalidRequestError("x"), Internal, "DATABASE_ERROR"),
    ],
)  # fmt: skip
def test_each_cause_has_its_kind_and_reason(
    error: Exception, kind: type[KeybridgeError], reason: str
) -> None:
    ours = translate(error, {})
    assert type(ours) is kind
    assert ours.reason == reason
    assert ours.__cause__ is error


def test_a_foreign_key_that_the_registry_knows_has_the_kind_and_the_words_of_the_registry() -> None:
    error = asyncpg.ForeignKeyViolationError("x")
    error.constraint_name = "fk_known"
    known = Conflict("GONE", "It is gone.", Unavailable)
    ours = translate(error, {"fk_known": known})
    assert (type(ours), ours.reason, ours.message) == (Unavailable, "GONE", "It is gone.")
