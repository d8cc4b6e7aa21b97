"""What is decided about old rows: who belongs to whom, which stays, what is deleted, and until when."""

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl
from tests.support.old_database import NO_DEFAULT, NULLABLE, OldDatabase, api_keys, plain_connection

LONG_AGO = datetime(2023, 5, 1, 12)  # noqa: DTZ001 - without zone, as theirs


@pytest.fixture
async def old(empty_database_url: DatabaseUrl) -> OldDatabase:
    return await OldDatabase(empty_database_url, NULLABLE).create()


async def clients(old: OldDatabase) -> dict[str, Any]:  # Any: asyncpg's records
    async with plain_connection(old.url) as connection:
        return {row["name"]: row for row in await connection.fetch("SELECT * FROM clients")}


async def events(old: OldDatabase, action: str) -> list[dict[str, Any]]:  # Any: JSON
    query = "SELECT api_key_id, client_id, details FROM audit_events WHERE action = $1 ORDER BY position"
    async with plain_connection(old.url) as connection:
        rows = await connection.fetch(query, action)
    return [{**row, "details": json.loads(row["details"])} for row in rows]


async def test_only_keys_that_lived_under_a_deleted_client_come_back_with_it(old: OldDatabase) -> None:
    await old.add_client("alice", is_deleted=True)
    live = await old.add_key("alice", "kraken", "live", created_at=LONG_AGO)
    gone = await old.add_key("alice", "kraken", "gone", created_at=LONG_AGO, is_deleted=True)
    await old.add_client("bob")
    deleted = await old.add_key("bob", "kraken", is_deleted=True)
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    assert all(now[key.id]["is_deleted"] for key in (live, gone, deleted))
    assert [key for key in now if now[key]["deleted_with_client"]] == [live.id]
    assert [event["api_key_id"] for event in await events(old, "DeleteApiKeyWithClient")] == [
        now[live.id]["id"]
    ]


async def test_keys_of_a_client_deleted_on_a_date_come_back_with_it_too(
    empty_database_url: DatabaseUrl,
) -> None:
    old = await OldDatabase(empty_database_url, NO_DEFAULT).create()
    await old.add_client("alice", deleted_at=datetime(2024, 1, 1, tzinfo=UTC))
    key = await old.add_key("alice", "kraken")
    before = datetime.now(UTC)
    await migrate.upgrade(old.url)
    row = (await api_keys(old.url))[key.id]
    assert row["deleted_with_client"]
    assert row["deleted_at"] >= before
    assert (await clients(old))["The client alice"]["deleted_at"] == datetime(2024, 1, 1, tzinfo=UTC)


async def test_duplicates_under_a_deleted_client_would_not_stop_its_return(old: OldDatabase) -> None:
    await old.add_client("alice", is_deleted=True)
    older = await old.add_key("alice", "gateio", created_at=LONG_AGO)
    newer = await old.add_key("alice", "gate", created_at=LONG_AGO + timedelta(days=1))
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    assert [key for key in now if now[key]["deleted_with_client"]] == [newer.id]
    assert [event["api_key_id"] for event in await events(old, "SupersedeApiKey")] == [now[older.id]["id"]]


async def test_rows_that_would_share_a_connector_name_are_duplicates(old: OldDatabase) -> None:
    await old.add_client("alice")
    older = await old.add_key("alice", "kraken:main", created_at=LONG_AGO)
    newer = await old.add_key("alice", "kraken", "main", created_at=LONG_AGO + timedelta(days=1))
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    assert (now[older.id]["is_deleted"], now[newer.id]["is_deleted"]) == (True, False)


async def test_the_time_until_erasure_begins_with_the_takeover(old: OldDatabase) -> None:
    await old.add_client("alice")
    key = await old.add_key("alice", "kraken", is_deleted=True, deleted_at=LONG_AGO)
    before = datetime.now(UTC)
    await migrate.upgrade(old.url)
    row = (await api_keys(old.url))[key.id]
    assert row["deleted_at"] >= before
    [event] = await events(old, "PostponeErasure")
    assert event["api_key_id"] == row["id"]
    assert datetime.fromisoformat(event["details"]["deleted_at"]) == LONG_AGO.replace(tzinfo=UTC)


async def test_an_external_id_that_was_lost_is_written_down(old: OldDatabase) -> None:
    await old.add_client("one", external_id="E1", created_at=LONG_AGO)
    await old.add_client("two", external_id="E1", created_at=LONG_AGO + timedelta(days=1))
    await old.add_client("E9")
    await old.add_client("carl", external_id="E9")
    await old.add_client("gone", external_id="E1", is_deleted=True)
    await migrate.upgrade(old.url)
    now = await clients(old)
    assert {name: row["external_id"] for name, row in now.items()} == {
        "The client one": None,
        "The client two": "E1",
        "The client E9": None,
        "The client carl": "E9",
        "The client gone": "E1",
    }
    lost = {event["client_id"]: event["details"] for event in await events(old, "DropExternalId")}
    assert lost == {
        now["The client one"]["id"]: {
            "external_id": "E1",
            "belongs_to": str(now["The client two"]["id"]),
        },
        now["The client E9"]["id"]: {
            "external_id": "E9",
            "belongs_to": str(now["The client carl"]["id"]),
        },
    }


async def test_an_id_that_is_a_uuid_is_the_same_in_capital_letters(old: OldDatabase) -> None:
    client_id = str(uuid4()).upper()
    await old.add_client(client_id, name="Alice")
    await old.execute("ALTER TABLE exchange_api_keys ALTER client_id TYPE uuid USING client_id::uuid")
    key = await old.add_key(client_id, "kraken")
    await migrate.upgrade(old.url)
    now = await clients(old)
    assert list(now) == ["Alice"]
    assert str(now["Alice"]["id"]) == client_id.lower()
    assert (await api_keys(old.url))[key.id]["client_id"] == now["Alice"]["id"]
    assert await events(old, "MakeClient") == []


async def test_a_policy_on_the_old_tables_hides_no_row(old: OldDatabase) -> None:
    await old.add_client("alice")
    key = await old.add_key("alice", "kraken")
    role = f"owner_{secrets.token_hex(4)}"
    await old.execute(
        f"CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {old.url.database} TO {role};"
        f"GRANT ALL ON SCHEMA public TO {role};"
        + "".join(
            f"ALTER TABLE {table} OWNER TO {role}; ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY; CREATE POLICY p ON {table} USING (false);"
            for table in ("clients", "exchange_api_keys")
        )
    )
    try:
        await migrate.upgrade(replace(old.url, user=role))
        assert (await api_keys(old.url)).keys() == {key.id}
        async with plain_connection(old.url) as connection:
            assert await connection.fetchval("SELECT count(*) FROM keybridge_legacy.clients") == 1
    finally:
        await old.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
