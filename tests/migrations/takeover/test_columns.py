"""Old columns are read for what they mean, or it is said that they were not read; none stops the takeover."""

import json
from datetime import UTC, datetime

import pytest

from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl
from tests.support.old_database import NO_DEFAULT, NULLABLE, OldDatabase, api_keys, plain_connection

LONG_AGO = datetime(2023, 5, 1, 12)  # noqa: DTZ001 - without zone, as theirs


@pytest.fixture
async def old(empty_database_url: DatabaseUrl) -> OldDatabase:
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.add_client("alice")
    return old


async def test_bytes_that_are_no_text_are_a_token_that_will_not_open(empty_database_url: DatabaseUrl) -> None:
    old = await OldDatabase(empty_database_url, NO_DEFAULT).create()
    await old.add_client("alice")
    broken = await old.add_key("alice", "kraken", api_secret=b"\xff\x00\\")
    whole = await old.add_key("alice", "okx")
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    assert now[broken.id]["api_secret"] == r"\377\000" + "\\\\"
    assert now[whole.id]["api_secret"] == whole.tokens["api_secret"]


async def test_times_that_are_text_are_read_with_their_zone(old: OldDatabase) -> None:
    await old.execute(
        "ALTER TABLE exchange_api_keys ALTER created_at TYPE text;"
        "ALTER DATABASE " + old.url.database + " SET timezone TO 'America/Lima'"
    )
    meant = {
        "2024-01-01T00:00:00+05:00": datetime(2023, 12, 31, 19, tzinfo=UTC),
        "2024-01-01T00:00:00Z": datetime(2024, 1, 1, tzinfo=UTC),
        " 2024-01-01 00:00:00": datetime(2024, 1, 1, tzinfo=UTC),
    }
    keys = {written: await old.add_key("alice", "kraken", written) for written in (*meant, "")}
    await old.execute("UPDATE exchange_api_keys SET created_at = name")
    before = datetime.now(UTC)
    await migrate.upgrade(old.url)
    now = await api_keys(old.url)
    assert {written: now[keys[written].id]["created_at"] for written in meant} == meant
    assert before <= now[keys[""].id]["created_at"] <= datetime.now(UTC)


async def test_a_time_that_no_message_can_hold_reads_as_none(old: OldDatabase) -> None:
    for never in ("infinity", "-infinity", "20000-01-01", "0044-03-15 BC"):
        await old.add_key("alice", "kraken", never, updated_at=LONG_AGO)
    await old.execute(
        "UPDATE exchange_api_keys SET created_at = name::timestamp;"
        "UPDATE clients SET created_at = 'infinity', updated_at = '-infinity'"
    )
    before = datetime.now(UTC)
    await migrate.upgrade(old.url)
    for row in (await api_keys(old.url)).values():
        assert before <= row["created_at"] <= datetime.now(UTC)
    async with plain_connection(old.url) as connection:
        client = await connection.fetchrow("SELECT * FROM clients")
    assert before <= client["created_at"] == client["updated_at"] <= datetime.now(UTC)


async def test_deleted_at_infinity_is_never(old: OldDatabase) -> None:
    key = await old.add_key("alice", "kraken")
    await old.execute("UPDATE exchange_api_keys SET deleted_at = 'infinity'")
    await migrate.upgrade(old.url)
    assert not (await api_keys(old.url))[key.id]["is_deleted"]


async def test_flags_of_several_names_are_read(old: OldDatabase) -> None:
    await old.execute(
        "ALTER TABLE exchange_api_keys ADD COLUMN environment text, ADD COLUMN is_demo boolean,"
        " ADD COLUMN enabled boolean, ADD COLUMN is_enabled integer, ADD COLUMN disabled boolean"
    )
    cases: list[tuple[dict[str, object], tuple[str, bool]]] = [
        ({}, ("live", False)),
        ({"environment": "Sandbox"}, ("sandbox", False)),
        ({"environment": "production"}, ("live", False)),
        ({"is_demo": True}, ("sandbox", False)),
        ({"enabled": False}, ("live", True)),
        ({"enabled": True, "is_enabled": 1}, ("live", False)),
        ({"is_enabled": 0}, ("live", True)),
        ({"disabled": True}, ("live", True)),
    ]
    for number, (columns, _) in enumerate(cases):
        await old.add_key("alice", "kraken", str(number), is_active=1, is_testnet=False, **columns)  # type: ignore[arg-type] # more columns
    await migrate.upgrade(old.url)
    now = {row["label"]: row for row in (await api_keys(old.url)).values()}
    for number, (columns, meant) in enumerate(cases):
        row = now[str(number)]
        assert (row["environment"], row["disabled"]) == meant, columns


async def test_columns_that_were_not_read_are_written_down(old: OldDatabase) -> None:
    await old.execute("ALTER TABLE clients ADD COLUMN email text")
    await migrate.upgrade(old.url)
    async with plain_connection(old.url) as connection:
        query = "SELECT details FROM audit_events WHERE action = 'PutAwayOldTable' ORDER BY position"
        details = [json.loads(row["details"]) for row in await connection.fetch(query)]
    assert details == [
        {"table": "keybridge_legacy.clients", "left_out": [], "not_read": ["email"]},
        {
            "table": "keybridge_legacy.exchange_api_keys",
            "left_out": ["api_key", "api_secret", "passphrase"],
            "not_read": ["permissions"],
        },
    ]
