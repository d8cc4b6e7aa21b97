"""Moves a database from revision to revision, for the command, for MIGRATE_ON_START and for tests alike.

Alembic does the work; this file gives it our connection (same sockets, same TLS as the services), lets one
migrate at a time, bounds how long it may stand in others' way, and turns what goes wrong into one sentence.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy import Connection, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit import logs
from servicekit.database.engine import create_engine
from servicekit.database.errors import CONNECTING, driver_error, scrub
from servicekit.database.options import DatabaseOptions
from servicekit.database.revisions import HISTORY, ahead, current_revision, known, newest, places
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError

T = TypeVar("T")

_log = logs.get(__name__)

ADVISORY_LOCK = 0x6B657962726467
"""Any number that others do not use: the letters "keybrdg"."""

PATIENCE_WITH_ANOTHER = timedelta(minutes=10)
LOCK_TIMEOUT = timedelta(seconds=10)
STATEMENT_TIMEOUT = timedelta(minutes=30)

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"


async def upgrade(url: DatabaseUrl, revision: str = "head", *, more_versions: Sequence[Path] = ()) -> None:
    """Migrate up to ``revision``; a database that is there already is left as it is."""
    config = alembic_config(more_versions)
    await _exclusively(url, config, lambda: command.upgrade(config, revision), known(more_versions))


async def downgrade(url: DatabaseUrl, revision: str, *, more_versions: Sequence[Path] = ()) -> None:
    """Migrate down to ``revision``; ``base`` is the beginning."""
    config = alembic_config(more_versions)
    await _exclusively(url, config, lambda: command.downgrade(config, revision), known(more_versions))


async def draft(url: DatabaseUrl, message: str, versions: Path | None = None) -> Path:
    """Write the revision that takes the database at ``url`` to the models; say where it is."""
    config = alembic_config([versions] if versions else ())
    where = str(versions) if versions else None
    # Numbers instead of hashes: two drafts on one head collide visibly, as the same name.
    number = f"{int(newest()) + 1:04d}"
    written: list[object] = []

    def write() -> None:
        written.append(
            command.revision(config, message, autogenerate=True, version_path=where, rev_id=number)
        )

    await _exclusively(url, config, write, known())
    [script] = written
    assert isinstance(script, Script)  # noqa: S101 - one message makes one revision
    return Path(script.path)


async def current(url: DatabaseUrl) -> str | None:
    """The revision that the database is at; None when it was never migrated by us."""
    return await _connected(url, current_revision)


def alembic_config(more_versions: Sequence[Path] = ()) -> Config:
    """Found from any working directory; logging is left alone. pyproject.toml, where there is one, names drafts."""
    config = Config(toml_file=HISTORY.parent / "pyproject.toml")
    _set(config, "script_location", str(HISTORY))
    _set(config, "path_separator", "os")
    _set(
        config,
        "version_locations",
        os.pathsep.join(str(path) for path in places(more_versions)),
    )
    return config


def hold_alone(connection: Connection) -> None:
    """One migrates at a time: wait for the other, then bound what this one may do to those who work
    meanwhile.

    The lock belongs to the session, so it outlives each revision's transaction and ends with the connection,
    even by kill -9. (Behind a pooler in transaction mode there is no session: migrations go straight to
    PostgreSQL.)
    """
    _set_timeouts(connection, lock=PATIENCE_WITH_ANOTHER, statement=timedelta(0))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    # A DDL statement that waits for its table makes everyone behind it wait too: rather give up and say so.
    _set_timeouts(connection, lock=LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT)
    connection.commit()


def migration_engine(url: DatabaseUrl) -> AsyncEngine:
    """One connection and no pool: it ends with the migration, and its advisory lock with it."""
    options = DatabaseOptions(url=url, application_name="keybridge-migrate", statement_timeout=timedelta(0))
    return create_engine(options, pooled=False)


async def _exclusively(
    url: DatabaseUrl, config: Config, migrate: Callable[[], None], revisions: Sequence[str]
) -> None:
    """Lock before alembic is entered: it keeps its state in module globals, which two in one process would
    share."""

    def work(connection: Connection) -> None:
        hold_alone(connection)
        before = _seen(connection)
        if before is not None and before not in revisions:
            raise StartupError(ahead(before))
        config.attributes["connection"] = connection
        migrate()
        after = _seen(connection)
        if after != before:
            _log.info("migrated the database", before=before, after=after)

    await _connected(url, work)


def _seen(connection: Connection) -> str | None:
    """The revision, in a transaction that is over at once: alembic wants to begin its own."""
    revision = current_revision(connection)
    connection.rollback()
    return revision


async def _connected(url: DatabaseUrl, work: Callable[[Connection], T]) -> T:
    engine = migration_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    except CommandError as error:
        raise StartupError(
            f"The database at {url.where} can't be migrated: {error}.".replace("..", ".")
        ) from error
    except CONNECTING as error:
        scrub(error)
        raise StartupError(_sentence(error, url)) from error
    finally:
        await engine.dispose()


def _sentence(error: BaseException, url: DatabaseUrl) -> str:
    said = driver_error(error)
    if said is None:
        return f"The database at {url.where} can't be reached, or was lost during the migration."
    if said.sqlstate == _LOCK_NOT_AVAILABLE and isinstance(error, exc.DBAPIError) and _is_ours(error):
        return "Another process has been migrating this database all the time; look what it is doing."
    if said.sqlstate in {_LOCK_NOT_AVAILABLE, _QUERY_CANCELED}:
        return (
            "The migration gave up because a table that it changes is in use; nothing was changed, try again."
        )
    return (
        f"The migration of the database at {url.where} failed with {type(said).__name__}; it was rolled back."
    )


def _is_ours(error: exc.DBAPIError) -> bool:
    return "pg_advisory_lock" in (error.statement or "")


def _set(config: Config, name: str, value: str) -> None:
    config.set_main_option(name, value.replace("%", "%%"))


def _set_timeouts(connection: Connection, *, lock: timedelta, statement: timedelta) -> None:
    for name, limit in (("lock_timeout", lock), ("statement_timeout", statement)):
        connection.execute(
            text("SELECT set_config(:name, :limit, false)"),
            {"name": name, "limit": f"{int(limit.total_seconds() * 1000)}ms"},
        )
