"""An old web backend's database becomes one of ours: no row is lost, and the schema is as if it were new."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

import keyservice.models  # noqa: F401 - so that its tables are in the metadata
from migrations.takeover.rows import RENAMED
from servicekit.catalogue import Catalogue
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.models import Base
from servicekit.database.options import DatabaseOptions
from servicekit.database.schema import check_schema
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError
from tests.support.old_database import (
    NULLABLE,
    STATES,
    WITHOUT,
    OldDatabase,
    api_keys,
    dump,
    new_ids,
    plain_connection,
)

UPGRADE = """
import asyncio, sys
from servicekit.database import migrate
from servicekit.database.url import parse_url
asyncio.run(migrate.upgrade(parse_url(sys.argv[1])))
"""
LONG_AGO = datetime(2023, 5, 1, 12)  # noqa: DTZ001 - without zone, as theirs
OURS = ("--schema=public", "--schema=bridge", "--exclude-table=public.alembic_version")


@pytest.fixture(params=STATES)
async def old(request: pytest.FixtureRequest, empty_database_url: DatabaseUrl) -> OldDatabase:
    """A database in one of the three states, with what such databases have in them."""
    old = await OldDatabase(empty_database_url, request.param).create()
    await old.add_client("alice")
    await old.add_client("bob")
    await old.add_key("alice", "binance", created_at=LONG_AGO)
    await old.add_key("alice", "Kraken", "main", created_at=LONG_AGO, updated_at=LONG_AGO + timedelta(days=1))
    await old.add_key("alice", "gateio", created_at=LONG_AGO + timedelta(hours=1))
    await old.add_key("bob", "huobi", "a", created_at=LONG_AGO + timedelta(hours=2))
    await old.add_key("bob", "bitmart", created_at=None)
    return old


@pytest.fixture
async def nullable(empty_database_url: DatabaseUrl) -> OldDatabase:
    return await OldDatabase(empty_database_url, NULLABLE).create()


@pytest.fixture
async def without(empty_database_url: DatabaseUrl) -> OldDatabase:
    return await OldDatabase(empty_database_url, WITHOUT).create()


@pytest.fixture
async def watcher(empty_database_url: DatabaseUrl) -> AsyncIterator[Database]:
    database = Database(DatabaseOptions(url=empty_database_url, pool_size=2))
    yield database
    await database.close()


def raw(url: DatabaseUrl) -> str:
    return f"postgresql://{url.user}@/{url.database}?host={url.host}&port={url.port}"


async def actions(url: DatabaseUrl) -> list[str]:
    async with plain_connection(url) as connection:
        query = "SELECT action FROM audit_events WHERE principal = 'migration' ORDER BY action"
        return [row["action"] for row in await connection.fetch(query)]


async def test_the_schema_is_that_of_a_fresh_database(
    old: OldDatabase, database_url: DatabaseUrl, watcher: Database
) -> None:
    await migrate.upgrade(old.url)
    assert dump(old.url, "--schema-only", *OURS) == dump(database_url, "--schema-only", *OURS)
    async with watcher.transaction() as connection:
        assert await check_schema(connection, Base.metadata) == []


async def test_every_row_is_kept_with_its_tokens_as_they_were(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    assert now.keys() == {key.id for key in old.keys}
    for key in old.keys:
        row = now[key.id]
        assert {name: row[name] for name in key.tokens} == key.tokens
        assert (row["passphrase"], row["extra"], row["key_id"], row["label"]) == (None, None, None, key.label)
        assert (row["is_deleted"], row["disabled"], row["bridge_state"]) == (False, False, "pending")


async def test_times_are_utc_and_each_missing_one_is_filled(old: OldDatabase) -> None:
    before = datetime.now(UTC)
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    for key in old.keys:
        row = now[key.id]
        if key.created_at is None and old.state != WITHOUT:
            assert before <= row["created_at"] <= datetime.now(UTC)
        elif key.created_at is not None:
            assert row["created_at"] == key.created_at.replace(tzinfo=UTC)
        if key.updated_at is not None and old.state != WITHOUT:
            assert row["updated_at"] == key.updated_at.replace(tzinfo=UTC)
        else:
            assert row["updated_at"] == row["created_at"]


async def test_each_row_gets_a_revision_of_its_own_in_the_order_of_time(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    rows = sorted((await api_keys(old.url)).values(), key=lambda row: row["revision"])
    assert len({row["revision"] for row in rows}) == len(rows)
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)


async def test_renamed_exchanges_get_their_new_name_and_retired_ones_keep_theirs(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    names = {key.exchange: (now[key.id]["exchange"], now[key.id]["connector_name"]) for key in old.keys}
    assert names == {
        "binance": ("binance", "binance"),
        "Kraken": ("kraken", "kraken:main"),
        "gateio": ("gate", "gate"),
        "huobi": ("htx", "htx:a"),
        "bitmart": ("bitmart", "bitmart"),
    }
    assert (await actions(old.url)).count("RenameExchange") == 3


async def test_a_second_run_changes_nothing(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    first = dump(old.url)
    await migrate.upgrade(old.url)
    assert dump(old.url) == first


async def test_killed_half_way_it_has_changed_nothing_and_can_run_again(
    old: OldDatabase, watcher: Database
) -> None:
    await migrate.upgrade(old.url, "0001")
    before = dump(old.url)
    async with plain_connection(old.url) as connection:
        # Its last step waits for whoever makes the schema that it is about to make.
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("CREATE SCHEMA keybridge_legacy")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, raw(old.url))
        await sessions(old.url, "wait_event = 'transactionid'", 1)
        process.kill()
        await process.wait()
        await transaction.rollback()
    await sessions(old.url, "true", 0)
    assert dump(old.url) == before
    await migrate.upgrade(old.url)
    assert (await new_ids(old.url)).keys() == {key.id for key in old.keys}


async def sessions(url: DatabaseUrl, condition: str, count: int) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ="
    async with asyncio.timeout(30), plain_connection(url) as connection:
        while await connection.fetchval(f"{query} 'keybridge-migrate' AND {condition}") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_insert_by_anyone_that_leaves_updated_at_out_gets_it(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    async with plain_connection(old.url) as connection:
        row = await connection.fetchrow(
            "INSERT INTO exchange_api_keys (client_id, exchange, label, connector_name)"
            " SELECT id, 'okx', 'by hand', 'okx' FROM clients LIMIT 1 RETURNING created_at, updated_at"
        )
        assert row["created_at"] == row["updated_at"] is not None
        assert (
            await connection.fetchval("SELECT count(*) FROM exchange_api_keys WHERE updated_at IS NULL") == 0
        )


async def test_what_they_had_besides_is_kept_and_the_secrets_are_not_left_behind(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    async with plain_connection(old.url) as connection:
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "theirs"
        kept = await connection.fetch("SELECT * FROM keybridge_legacy.exchange_api_keys")
        assert {str(row["id"]) for row in kept} == {key.id for key in old.keys}
        assert {"api_key", "api_secret", "passphrase"}.isdisjoint(kept[0].keys())
        if old.state == NULLABLE:
            assert kept[0]["permissions"] == '["read", "trade"]'
        assert await connection.fetchval("SELECT count(*) FROM keybridge_legacy.clients") == 2
    assert (await actions(old.url)).count("PutAwayOldTable") == 2


async def test_text_ids_of_clients_become_their_external_ids(old: OldDatabase) -> None:
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    async with plain_connection(old.url) as connection:
        clients = {row["id"]: row for row in await connection.fetch("SELECT * FROM clients")}
    assert {(row["external_id"], row["name"]) for row in clients.values()} == {
        ("alice", "The client alice"),
        ("bob", "The client bob"),
    }
    for key in old.keys:
        assert clients[now[key.id]["client_id"]]["external_id"] == key.client_id
    assert {row["id"].version for row in clients.values()} == {8}


async def test_ids_that_are_uuids_stay_and_others_become_the_same_ones_on_every_server(
    empty_database_url: DatabaseUrl, database_url: DatabaseUrl
) -> None:
    ours = "0d1e2f30-4152-4637-8a9b-acbdcedfe0f1"
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.add_client(ours)
    await old.add_key(ours, "kraken")
    await migrate.upgrade(old.url)
    async with plain_connection(old.url) as connection:
        client = await connection.fetchrow("SELECT * FROM clients")
        key_id = await connection.fetchval("SELECT id FROM exchange_api_keys")
    assert (client["id"], client["external_id"]) == (UUID(ours), None)
    assert key_id == UUID("99593f29-c3af-8378-82e3-6c1c1a0d2aca")


async def test_keys_of_missing_clients_are_kept_under_a_client_made_for_them(nullable: OldDatabase) -> None:
    await nullable.add_client("alice", name=" ")
    ghostly = [await nullable.add_key("ghost", "kraken"), await nullable.add_key("ghost", "okx")]
    nobodys = await nullable.add_key(None, "kraken")
    await migrate.upgrade(nullable.url)
    now = await api_keys(nullable.url)
    async with plain_connection(nullable.url) as connection:
        clients = {row["id"]: row for row in await connection.fetch("SELECT * FROM clients")}
    made = {now[key.id]["client_id"] for key in ghostly}
    assert len(made) == 1
    assert clients[made.pop()]["external_id"] == "ghost"
    nobody = clients[now[nobodys.id]["client_id"]]
    assert (nobody["name"], nobody["external_id"]) == ("Client of keys without one", None)
    assert sorted(row["name"] for row in clients.values()) == [
        "Client alice", "Client ghost", "Client of keys without one",
    ]  # fmt: skip
    assert (await actions(nullable.url)).count("MakeClient") == 2


async def test_without_a_table_of_clients_all_of_them_are_made(without: OldDatabase) -> None:
    await without.execute("DROP TABLE clients")
    key = await without.add_key("alice", "kraken")
    await migrate.upgrade(without.url)
    async with plain_connection(without.url) as connection:
        client = await connection.fetchrow("SELECT * FROM clients")
    assert (await api_keys(without.url))[key.id]["client_id"] == client["id"]
    assert client["external_id"] == "alice"
    assert "MakeClient" not in await actions(without.url)


async def test_an_external_id_that_two_clients_claim_goes_to_the_one_it_was_given_to(
    nullable: OldDatabase,
) -> None:
    await nullable.add_client("one", external_id="two")
    await nullable.add_client("two")
    await nullable.add_client("three", external_id="three", is_deleted=True)
    await migrate.upgrade(nullable.url)
    async with plain_connection(nullable.url) as connection:
        rows = await connection.fetch("SELECT name, external_id, is_deleted FROM clients ORDER BY name")
    assert [tuple(row) for row in rows] == [
        ("The client one", "two", False),
        ("The client three", "three", True),
        ("The client two", None, False),
    ]


async def test_of_duplicates_the_newest_stays_and_the_others_are_deleted_softly(
    nullable: OldDatabase,
) -> None:
    await nullable.add_client("alice")
    oldest = await nullable.add_key("alice", "gateio", created_at=LONG_AGO)
    newest = await nullable.add_key("alice", "gate", created_at=LONG_AGO + timedelta(days=2))
    middle = await nullable.add_key("alice", "Gate", created_at=LONG_AGO + timedelta(days=1))
    undated = await nullable.add_key("alice", "gate")
    other = await nullable.add_key("alice", "gate", "other")
    deleted = await nullable.add_key(
        "alice", "gate", created_at=LONG_AGO + timedelta(days=3), is_deleted=True
    )
    await migrate.upgrade(nullable.url)
    now = await api_keys(nullable.url)
    live = {key.id for key in nullable.keys if not now[key.id]["is_deleted"]}
    assert live == {newest.id, other.id}
    assert {key.id for key in (oldest, middle, undated, deleted)} == now.keys() - live
    async with plain_connection(nullable.url) as connection:
        query = (
            "SELECT api_key_id, details->>'superseded_by' FROM audit_events WHERE action = 'SupersedeApiKey'"
        )
        by = dict(await connection.fetch(query))
    winner = str(now[newest.id]["id"])
    assert by == {now[key.id]["id"]: winner for key in (oldest, middle, undated)}


async def test_of_rows_that_are_as_old_as_each_other_the_last_id_is_the_newest(without: OldDatabase) -> None:
    for _ in range(12):
        await without.add_key("alice", "kraken", created_at=LONG_AGO)
    await migrate.upgrade(without.url)
    now = await api_keys(without.url)
    assert [old_id for old_id, row in now.items() if not row["is_deleted"]] == ["12"]


async def test_their_flags_are_understood(nullable: OldDatabase) -> None:
    await nullable.add_client("alice")
    inactive = await nullable.add_key("alice", "kraken", is_active=0)
    sandbox = await nullable.add_key("alice", "okx", is_active=1, is_testnet=True)
    gone = await nullable.add_key("alice", "gate", is_deleted=True, deleted_at=LONG_AGO)
    undated = await nullable.add_key("alice", "htx", is_deleted=True)
    timed = await nullable.add_key("alice", "mexc", deleted_at=LONG_AGO)
    empty = await nullable.add_key("alice", "bybit", passphrase="")
    before = datetime.now(UTC)
    await migrate.upgrade(nullable.url)
    now = await api_keys(nullable.url)
    assert [key for key in now if now[key]["disabled"]] == [inactive.id]
    assert [key for key in now if now[key]["environment"] == "sandbox"] == [sandbox.id]
    assert {key for key in now if now[key]["is_deleted"]} == {gone.id, undated.id, timed.id}
    assert all(now[key.id]["deleted_at"] >= before for key in (gone, undated, timed))
    removed = {key for key in now if now[key]["bridge_state"] == "removed"}
    assert removed == {inactive.id, gone.id, undated.id, timed.id}
    assert now[empty.id]["passphrase"] is None


async def test_a_deleted_clients_keys_are_deleted_now_so_that_they_are_not_erased_at_once(
    nullable: OldDatabase,
) -> None:
    await nullable.add_client("alice", is_deleted=True)
    key = await nullable.add_key("alice", "kraken", created_at=LONG_AGO)
    before = datetime.now(UTC)
    await migrate.upgrade(nullable.url)
    row = (await api_keys(nullable.url))[key.id]
    assert row["is_deleted"]
    assert row["deleted_at"] >= before
    assert "DeleteApiKeyWithClient" in await actions(nullable.url)


async def test_a_passphrase_moves_too(old: OldDatabase) -> None:
    values = {"api_key": "k", "api_secret": "s", "passphrase": "p"}
    key = await old.add_key("alice", "okx", values=values)
    await migrate.upgrade(old.url)
    row = (await api_keys(old.url))[key.id]
    assert {name: row[name] for name in values} == key.tokens


def test_the_renamings_agree_with_the_catalogue() -> None:
    catalogue = Catalogue.load()
    assert {catalogue.canonical(old) for old in RENAMED} == {
        catalogue.canonical(new) for new in RENAMED.values()
    }
    assert all(catalogue.canonical(old) == catalogue.canonical(new) for old, new in RENAMED.items())


async def test_a_database_with_keys_is_not_downgraded(old: OldDatabase) -> None:
    await migrate.upgrade(old.url, "0002")
    before = dump(old.url)
    with pytest.raises(
        StartupError, match="exchange_api_keys holds keys, which this downgrade would destroy"
    ):
        await migrate.downgrade(old.url, "0001")
    assert dump(old.url) == before


async def test_nor_is_one_with_clients_or_with_a_record_of_what_was_done(database_url: DatabaseUrl) -> None:
    async with plain_connection(database_url) as connection:
        for statement, sentence in (
            (
                "INSERT INTO audit_events (principal, action) VALUES ('a', 'b')",
                "audit_events holds the audit rec",
            ),
            ("INSERT INTO clients (name) VALUES ('Alice')", "clients holds clients"),
        ):
            await connection.execute(statement)
            with pytest.raises(StartupError, match=sentence):
                await migrate.downgrade(database_url, "0001")
