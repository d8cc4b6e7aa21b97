"""The history of the schema: one head, like the models, up and down and up again, safe to interrupt."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

import bridgeservice.models  # noqa: F401 - so that its tables are in the metadata
import keyservice.models  # noqa: F401 - so that its tables are in the metadata
from servicekit.database import migrate, revisions
from servicekit.database.engine import Database
from servicekit.database.models import Base
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError

ASIDE = 4711
"""An advisory lock that a test migration waits for while a test holds it."""

REVISION = """
revision = {revision!r}
down_revision = {before!r}
branch_labels = depends_on = None

def upgrade():
    from alembic import op
    for statement in {up!r}:
        op.execute(statement)

def downgrade():
    from alembic import op
    for statement in {down!r}:
        op.execute(statement)
"""

UPGRADE = """
import asyncio, sys
from pathlib import Path
from servicekit.database import migrate
from servicekit.database.url import parse_url
asyncio.run(migrate.upgrade(parse_url(sys.argv[1]), more_versions=[Path(path) for path in sys.argv[2:]]))
"""


def write_revision(directory: Path, revision: str, before: str, *up: str, down: tuple[str, ...] = ()) -> None:
    content = REVISION.format(revision=revision, before=before, up=up, down=down)
    (directory / f"20991231_{revision}_of_a_test.py").write_text(content)


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[Path]:
    """A revision after the head that makes a table, and one that makes another and then waits for ASIDE."""
    head = revisions.newest()
    write_revision(tmp_path, "t1", head, "CREATE TABLE one (n int)", down=("DROP TABLE one",))
    write_revision(
        tmp_path, "t2", "t1", "CREATE TABLE two (n int)", f"SELECT pg_advisory_xact_lock({ASIDE})",
        down=("DROP TABLE two",),
    )  # fmt: skip
    return iter([tmp_path])


@asynccontextmanager
async def connected(url: DatabaseUrl) -> AsyncIterator[Database]:
    database = Database(DatabaseOptions(url=url, pool_size=2))
    try:
        yield database
    finally:
        await database.close()


async def tables(url: DatabaseUrl) -> set[str]:
    async with connected(url) as database, database.autocommit() as connection:
        names = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return set(names.scalars()) - {revisions.VERSION_TABLE}


async def more_tables(url: DatabaseUrl) -> set[str]:
    """Those that the revisions of a test made, beside the models'."""
    return await tables(url) - set(Base.metadata.tables)


async def waiting_for_locks(database: Database, count: int) -> None:
    async with asyncio.timeout(30), database.autocommit() as connection:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'keybridge-migrate' AND wait_event = 'advisory'"
        )
        while (await connection.execute(query)).scalar_one() != count:  # noqa: ASYNC110 - inside PostgreSQL
            await asyncio.sleep(0.02)


async def start_upgrade(url: DatabaseUrl, *versions: Path) -> asyncio.subprocess.Process:
    raw = f"postgresql://{url.user}@/{url.database}?host={url.host}&port={url.port}"
    return await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, raw, *map(str, versions))


def test_there_is_one_head_and_the_files_are_named_as_alembic_reads_them() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_heads() == [revisions.newest()]
    assert [each.revision for each in script.walk_revisions()] == list(reversed(revisions.known()))


async def test_the_models_and_the_history_say_the_same(database_url: DatabaseUrl) -> None:
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": revisions.VERSION_TABLE,
                "include_schemas": True,
                "compare_server_default": True,
            },
        )
        return list(compare_metadata(context, Base.metadata))

    async with connected(database_url) as database, database.transaction() as connection:
        assert await connection.run_sync(compare) == []


async def test_up_and_down_and_up_again(empty_database_url: DatabaseUrl) -> None:
    assert await migrate.current(empty_database_url) is None
    for _ in range(2):
        await migrate.upgrade(empty_database_url)
        assert await migrate.current(empty_database_url) == revisions.newest()
        await migrate.upgrade(empty_database_url)
        await migrate.downgrade(empty_database_url, "base")
        assert await migrate.current(empty_database_url) is None
        assert await tables(empty_database_url) == set()


async def test_two_upgrades_at_once_in_one_process_are_one_after_the_other(
    empty_database_url: DatabaseUrl,
) -> None:
    await asyncio.gather(migrate.upgrade(empty_database_url), migrate.upgrade(empty_database_url))
    assert await migrate.current(empty_database_url) == revisions.newest()


async def test_two_replicas_that_upgrade_at_once_are_safe(
    empty_database_url: DatabaseUrl, versions: Iterator[Path]
) -> None:
    more = next(versions)
    async with connected(empty_database_url) as database:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:aside)"), {"aside": ASIDE})
            replicas = [await start_upgrade(empty_database_url, more) for _ in range(2)]
            await waiting_for_locks(database, 2)  # one for ASIDE inside its migration, one for its turn
        assert [await replica.wait() for replica in replicas] == [0, 0]
    assert await migrate.current(empty_database_url) == "t2"
    assert await more_tables(empty_database_url) == {"one", "two"}


async def test_an_upgrade_that_is_killed_leaves_the_revision_before_and_can_run_again(
    empty_database_url: DatabaseUrl, versions: Iterator[Path]
) -> None:
    more = next(versions)
    async with connected(empty_database_url) as database:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:aside)"), {"aside": ASIDE})
            replica = await start_upgrade(empty_database_url, more)
            await waiting_for_locks(database, 1)
            replica.kill()
            await replica.wait()
        assert await migrate.current(empty_database_url) == "t1"
        assert await more_tables(empty_database_url) == {"one"}
    await migrate.upgrade(empty_database_url, more_versions=[more])
    assert await migrate.current(empty_database_url) == "t2"
    await migrate.downgrade(empty_database_url, revisions.newest(), more_versions=[more])
    assert await more_tables(empty_database_url) == set()


async def test_a_table_in_use_makes_the_migration_give_up(
    database_url: DatabaseUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", migrate.LOCK_TIMEOUT / 100)
    head = revisions.newest()
    write_revision(tmp_path, "t1", head, "CREATE TABLE used (n int)")
    await migrate.upgrade(database_url, more_versions=[tmp_path])
    write_revision(tmp_path, "t2", "t1", "ALTER TABLE used ADD COLUMN m int")
    async with connected(database_url) as database, database.transaction() as connection:
        await connection.execute(text("SELECT * FROM used"))
        with pytest.raises(StartupError, match="a table that it changes is in use; nothing was changed"):
            await migrate.upgrade(database_url, more_versions=[tmp_path])
    assert await migrate.current(database_url) == "t1"


async def test_one_that_never_gets_its_turn_says_so(
    database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE_WITH_ANOTHER", migrate.LOCK_TIMEOUT / 100)
    async with connected(database_url) as database, database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrate.ADVISORY_LOCK})
        with pytest.raises(StartupError, match="Another process has been migrating this database"):
            await migrate.upgrade(database_url)


async def test_a_migration_that_fails_is_rolled_back_and_told_in_one_sentence(
    database_url: DatabaseUrl, tmp_path: Path
) -> None:
    write_revision(tmp_path, "t1", revisions.newest(), "CREATE TABLE one (n int)", "SELECT 'x'::int")
    with pytest.raises(
        StartupError, match=r"failed with InvalidTextRepresentationError; it was rolled back\.$"
    ):
        await migrate.upgrade(database_url, more_versions=[tmp_path])
    assert await more_tables(database_url) == set()


async def test_a_database_from_the_future_is_not_touched(database_url: DatabaseUrl) -> None:
    async with connected(database_url) as database, database.transaction() as connection:
        await connection.execute(text(f"UPDATE {revisions.VERSION_TABLE} SET version_num = 'f00'"))  # noqa: S608 - ours
    sentence = (
        f"^The database is ahead of this release, which ends at revision {revisions.newest()} .* f00: run"
    )
    with pytest.raises(StartupError, match=sentence):
        await migrate.upgrade(database_url)
    with pytest.raises(StartupError, match=sentence):
        await migrate.downgrade(database_url, "base")
    assert await migrate.current(database_url) == "f00"


async def test_a_revision_that_nobody_knows_is_one_sentence(database_url: DatabaseUrl) -> None:
    with pytest.raises(StartupError, match=r"can't be migrated: .*f00"):
        await migrate.upgrade(database_url, "f00")


async def test_an_unreachable_database_is_one_sentence() -> None:
    with pytest.raises(StartupError, match="can't be reached, or was lost"):
        await migrate.upgrade(DatabaseUrl("/nowhere", 5432, "d", sslmode="disable"))


async def test_migrating_leaves_the_callers_logging_alone(empty_database_url: DatabaseUrl) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("alembic").level)
    await migrate.upgrade(empty_database_url)
    assert (list(root.handlers), root.level, logging.getLogger("alembic").level) == before


async def test_alembics_own_command_reads_the_environment_and_drafts_nothing(
    empty_database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = empty_database_url
    raw = f"postgresql://{url.user}@/{url.database}?host={url.host}&port={url.port}"
    monkeypatch.setenv("DATABASE_URL", raw)
    monkeypatch.chdir(tmp_path)
    await asyncio.to_thread(command.upgrade, migrate.alembic_config(), "head")
    assert await migrate.current(url) == revisions.newest()
    await asyncio.to_thread(command.check, migrate.alembic_config())


def test_there_is_no_offline_mode() -> None:
    with pytest.raises(CommandError, match="there is no offline mode"):
        command.upgrade(migrate.alembic_config(), "head", sql=True)
