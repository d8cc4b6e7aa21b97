"""What each role may do in the database, tried by connecting as it: what it has to with its own, and no more."""

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import bridgeservice.models
import keyservice.models
from migrations import privileges
from migrations.privileges import Roles, grant
from migrations.roles import Login, admit, establish
from servicekit.database import migrate, revisions
from servicekit.database.models import Base
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError
from tests.support.old_database import NULLABLE, OldDatabase, plain_connection
from tests.support.postgres import ThrowAwayPostgres
from tests.support.revisions import write_revision
from tests.support.roles import Accounts, make_accounts, new_prefix

assert keyservice.models.METADATA is bridgeservice.models.METADATA is Base.metadata
KEY_TABLES = sorted(table.name for table in Base.metadata.tables.values() if table.schema is None)
BRIDGE_TABLES = sorted(table.fullname for table in Base.metadata.tables.values() if table.schema == "bridge")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

REFUSED = asyncpg.InsufficientPrivilegeError


async def run(url: DatabaseUrl, *statements: str) -> Any:
    """As somebody at psql would; what the last one gives."""
    async with plain_connection(url) as connection:
        found: Any = None
        for statement in statements:
            found = await connection.fetch(statement)
        return found


async def refused(url: DatabaseUrl, statement: str) -> bool:
    try:
        await run(url, "BEGIN", statement, "ROLLBACK")
    except REFUSED:
        return True
    return False


async def granted(url: DatabaseUrl, table: str) -> set[str]:
    """What the account may do with all of a table."""
    async with plain_connection(url) as connection:
        query = "SELECT verb FROM unnest($1::text[]) verb WHERE has_table_privilege($2, verb)"
        return {row["verb"] for row in await connection.fetch(query, VERBS, table)}


async def privileges_of(url: DatabaseUrl, prefix: str) -> list[Any]:
    """All that is granted on anything of ours, to whom, and whose it is."""
    return list(
        await run(
            url,
            "SELECT oid::regclass::text, relowner::regrole::text, relacl::text FROM pg_class"
            " WHERE relkind IN ('r', 'S') AND relnamespace IN ('public'::regnamespace, 'bridge'::regnamespace)"
            " ORDER BY 1",
        )
    )


def test_every_table_and_every_sequence_of_the_key_service_has_its_privileges() -> None:
    assert sorted(privileges.KEYSERVICE) == KEY_TABLES
    sequences = Base.metadata._sequences.values()
    assert {each.name for each in sequences if each.schema is None} == set(privileges.KEYSERVICE_SEQUENCES)


async def test_the_key_service_may_do_with_its_tables_what_is_written_down_and_no_more(
    accounts: Accounts,
) -> None:
    for table, verbs in privileges.KEYSERVICE.items():
        whole = {verb.strip() for verb in verbs.split("(")[0].split(",")}
        if table == "audit_events":
            whole.discard("INSERT")
        assert await granted(accounts.keyservice, table) == whole, table


@pytest.mark.parametrize("table", ["audit_events", "audit_seals"])
async def test_the_audit_record_and_its_seals_are_insert_only(accounts: Accounts, table: str) -> None:
    for statement in (
        f"UPDATE {table} SET created_at = now()",  # noqa: S608 - ours
        f"DELETE FROM {table}",  # noqa: S608 - ours
        f"TRUNCATE {table}",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"DROP TABLE {table}",
        f"SELECT * FROM {table} FOR UPDATE",  # noqa: S608 - ours
        f"LOCK TABLE {table} IN SHARE MODE",
    ):
        assert await refused(accounts.keyservice, statement), statement
    assert not await refused(accounts.keyservice, f"SELECT * FROM {table}")  # noqa: S608 - ours


async def test_who_writes_an_event_says_neither_its_place_nor_its_time(accounts: Accounts) -> None:
    url = accounts.keyservice
    event = "INSERT INTO audit_events ({}principal, action) VALUES ({}'p', 'a')"
    assert not await refused(url, event.format("", ""))
    assert await refused(url, event.format("position, ", "1, "))
    assert await refused(url, event.format("created_at, ", "now(), "))
    assert await refused(url, "SELECT setval('audit_positions', 1)")


async def test_neither_service_reads_or_writes_what_is_the_others(accounts: Accounts) -> None:
    for table in BRIDGE_TABLES:
        assert await refused(accounts.keyservice, f"SELECT FROM {table}")
        assert await granted(accounts.superuser, table) >= set(VERBS)
    for table in KEY_TABLES:
        assert await granted(accounts.bridgeservice, table) == set(), table
        assert await refused(accounts.bridgeservice, f"SELECT FROM {table}")
    for sequence in privileges.KEYSERVICE_SEQUENCES:
        assert await refused(accounts.bridgeservice, f"SELECT nextval('{sequence}')")


async def test_the_bridge_may_use_its_tables_and_not_change_what_they_are(accounts: Accounts) -> None:
    for table in BRIDGE_TABLES:
        assert await granted(accounts.bridgeservice, table) == {"SELECT", "INSERT", "UPDATE", "DELETE"}, table


@pytest.mark.parametrize("account", ["keyservice", "bridgeservice"])
async def test_no_service_can_make_or_change_anything(accounts: Accounts, account: str) -> None:
    url: DatabaseUrl = getattr(accounts, account)
    for statement in (
        "CREATE TABLE mine (n int)",
        "CREATE TABLE bridge.mine (n int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE clients ADD mine int",
        "CREATE INDEX ON bridge.accounts (id)",
        f"UPDATE {revisions.VERSION_TABLE} SET version_num = ''",  # noqa: S608 - ours
        f"SET ROLE {accounts.roles.migrations}",
        "CREATE ROLE mine",
    ):
        assert await refused(url, statement), statement


async def test_making_the_roles_again_changes_nothing_and_takes_back_what_somebody_granted(
    accounts: Accounts,
) -> None:
    def again(connection: Any) -> None:
        establish(connection, accounts.roles)

    before = await privileges_of(accounts.superuser, accounts.prefix)
    await run(
        accounts.superuser,
        f"GRANT UPDATE, TRUNCATE ON audit_events TO {accounts.roles.keyservice}",
        f"GRANT SELECT ON clients, bridge.accounts TO {accounts.roles.bridgeservice}, PUBLIC",
        f"GRANT USAGE ON SCHEMA bridge TO {accounts.roles.keyservice}",
        "GRANT DELETE ON audit_seals TO PUBLIC",
    )
    assert await privileges_of(accounts.superuser, accounts.prefix) != before
    for _ in range(2):
        await migrate.exclusively(accounts.superuser, again)
        assert await privileges_of(accounts.superuser, accounts.prefix) == before
    assert await refused(accounts.keyservice, "SELECT FROM bridge.accounts")


async def test_what_was_there_before_the_roles_belongs_to_the_one_of_migrations(
    empty_database_url: DatabaseUrl,
) -> None:
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.add_client("alice")
    await old.add_key("alice", "binance")
    await migrate.upgrade(empty_database_url)
    accounts = await make_accounts(empty_database_url)
    rows = await run(
        accounts.superuser,
        "SELECT oid::regclass::text AS name, relowner::regrole::text AS owner FROM pg_class WHERE relkind IN ('r', 'S')"
        " AND relnamespace::regnamespace::text IN ('public', 'bridge', 'keybridge_legacy')",
    )
    owners = {row["name"]: row["owner"] for row in rows}
    assert {f"keybridge_legacy.{table}" for table in ("clients", "exchange_api_keys")} < owners.keys()
    ours = {name for name in owners if "." in name or name in (*KEY_TABLES, *privileges.KEYSERVICE_SEQUENCES)}
    assert {owners[name] for name in ours} == {accounts.roles.migrations}
    assert {owners[name] for name in owners.keys() - ours - {revisions.VERSION_TABLE}} == {"postgres"}
    assert await refused(accounts.keyservice, "SELECT FROM keybridge_legacy.clients")


async def test_a_member_of_the_role_of_migrations_migrates_an_empty_database_and_all_have_their_privileges(
    empty_database_url: DatabaseUrl,
) -> None:
    accounts = await make_accounts(empty_database_url)
    for _ in range(2):
        await migrate.upgrade(accounts.migrations, role_prefix=accounts.prefix)
        rows = await privileges_of(accounts.superuser, accounts.prefix)
        assert {row["relowner"] for row in rows} == {accounts.roles.migrations}
        assert not await refused(accounts.keyservice, "SELECT FROM clients")
        assert not await refused(accounts.bridgeservice, "SELECT FROM bridge.accounts")
        assert await refused(accounts.bridgeservice, "SELECT FROM clients")
        await migrate.downgrade(accounts.migrations, "base")


async def test_what_a_migration_makes_has_its_privileges_with_it_and_belongs_to_the_role(
    accounts: Accounts, tmp_path: Path
) -> None:
    write_revision(tmp_path, "t1", revisions.newest(), "CREATE TABLE bridge.one (n int)")
    # By a superuser too.
    await migrate.upgrade(accounts.superuser, more_versions=[tmp_path], role_prefix=accounts.prefix)
    assert await granted(accounts.bridgeservice, "bridge.one") == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert await refused(accounts.keyservice, "SELECT FROM bridge.one")
    rows = await privileges_of(accounts.superuser, accounts.prefix)
    assert {row["relowner"] for row in rows} == {accounts.roles.migrations}


async def test_the_roles_of_another_database_on_the_server_have_nothing_in_this_one(
    accounts: Accounts, postgres_server: ThrowAwayPostgres
) -> None:
    name = f"other_{secrets.token_hex(4)}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    try:
        other = replace(accounts.superuser, database=name)
        await migrate.upgrade(other, role_prefix=accounts.prefix)
        rows = await privileges_of(other, accounts.prefix)
        assert {row["relowner"] for row in rows} == {"postgres"}
        assert {row["relacl"] for row in rows} == {None}
        assert await refused(replace(other, user=accounts.keyservice.user), "SELECT FROM clients")
    finally:
        postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("account", ["keyservice", "bridgeservice"])
async def test_a_services_account_that_is_to_migrate_is_told_who_may(
    accounts: Accounts, account: str, tmp_path: Path
) -> None:
    url = getattr(accounts, account)
    # There is nothing to do, and nobody is refused for it.
    await migrate.upgrade(url, role_prefix=accounts.prefix)
    write_revision(tmp_path, "t1", revisions.newest(), "CREATE TABLE one (n int)")
    with pytest.raises(StartupError, match="may not change it; migrations and grants are for the owner"):
        await migrate.upgrade(url, more_versions=[tmp_path], role_prefix=accounts.prefix)
    with pytest.raises(StartupError, match="may not change it"):
        await migrate.exclusively(url, lambda connection: establish(connection, accounts.roles))


async def test_an_owner_of_the_database_who_may_make_roles_needs_no_superuser(
    postgres_server: ThrowAwayPostgres, empty_database_url: DatabaseUrl
) -> None:
    owner, roles = new_prefix(), Roles.named(new_prefix())
    postgres_server.sql(f"CREATE ROLE {owner} LOGIN CREATEROLE")
    postgres_server.sql(f"ALTER DATABASE {empty_database_url.database} OWNER TO {owner}")
    url = replace(empty_database_url, user=owner)
    await migrate.upgrade(url)

    def work(connection: Any) -> None:
        establish(connection, roles)
        for role in (roles.keyservice, roles.bridgeservice, roles.migrations):
            admit(connection, roles, Login(f"{role}_login", role))

    for _ in range(2):
        await migrate.exclusively(url, work)
    assert not await refused(replace(url, user=f"{roles.keyservice}_login"), "SELECT FROM clients")
    assert await refused(replace(url, user=f"{roles.bridgeservice}_login"), "SELECT FROM clients")
    await migrate.downgrade(replace(url, user=f"{roles.migrations}_login"), "base")
    await migrate.upgrade(url)


async def test_an_account_is_for_one_role_and_no_superuser(accounts: Accounts) -> None:
    def work(login: Login) -> Any:
        return lambda connection: admit(connection, accounts.roles, login)

    url, roles = accounts.superuser, accounts.roles
    with pytest.raises(StartupError, match="postgres is a superuser"):
        await migrate.exclusively(url, work(Login("postgres", roles.keyservice)))
    assert accounts.keyservice.user is not None
    for role in (roles.bridgeservice, roles.migrations):
        with pytest.raises(StartupError, match="each role needs its own account"):
            await migrate.exclusively(url, work(Login(accounts.keyservice.user, role)))


async def test_privileges_are_granted_at_whatever_revision_the_database_is(
    empty_database_url: DatabaseUrl,
) -> None:
    accounts = await make_accounts(empty_database_url)
    for revision in ("0001", "0002", "head"):
        await migrate.upgrade(accounts.migrations, revision, role_prefix=accounts.prefix)
        await migrate.exclusively(accounts.superuser, lambda connection: grant(connection, accounts.roles))
    assert await refused(accounts.keyservice, "DELETE FROM audit_events")
    assert await asyncio.wait_for(run(accounts.keyservice, "SELECT FROM audit_seals"), 30) == []
