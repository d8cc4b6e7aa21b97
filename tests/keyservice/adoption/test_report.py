"""The report: whatever was done to an old database's rows is told in a sentence, as often as anyone asks."""

from collections.abc import AsyncIterator

import pytest

from keyservice.adoption import kept_report
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from tests.support.old_database import NULLABLE, OldDatabase, api_keys, plain_connection

NOT_THERE = "which the old database did not have."
THREE = "client, exchange and label; until it is erased it can be undeleted."
SECRETS = "api_key, api_secret and passphrase"


@pytest.fixture
async def database(empty_database_url: DatabaseUrl) -> AsyncIterator[Database]:
    database = Database(DatabaseOptions(url=empty_database_url, pool_size=2))
    yield database
    await database.close()


async def test_the_report_tells_all_that_the_migration_did(
    empty_database_url: DatabaseUrl, database: Database
) -> None:
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.execute("ALTER TABLE exchange_api_keys ALTER COLUMN exchange DROP NOT NULL")
    await old.add_client("alice")
    await old.add_client("gone", is_deleted=True)
    older = await old.add_key("alice", "gateio")
    newer = await old.add_key("alice", "gateio")
    orphan = await old.add_key("ghost", "kraken")
    nobodys = await old.add_key(None, "kraken")
    deleted = await old.add_key("gone", "kraken")
    await old.add_key("alice", None)
    await old.add_key("alice", "okx", is_deleted=True)
    await old.add_client("bob", external_id="E")
    await old.add_client("carl", external_id="E")
    await migrate.upgrade(old.url)
    async with database.autocommit() as connection:
        report = await kept_report(connection)
    now = await api_keys(old.url)
    async with plain_connection(old.url) as connection:
        query = "SELECT name, id FROM clients WHERE name IN ('The client bob', 'The client carl') ORDER BY external_id"
        (carl, bob) = [row["id"] for row in await connection.fetch(query)]
    ids = {old_id: row["id"] for old_id, row in now.items()}
    assert sorted(report.lines()) == sorted(
        [
            "The migration took over 7 API keys and 4 clients.",
            "0 API keys sealed anew.",
            f"Client {now[orphan.id]['client_id']} was made, for keys of client 'ghost', {NOT_THERE}",
            f"Client {now[nobodys.id]['client_id']} was made, for keys of no client, {NOT_THERE}",
            "The exchange '' of 1 API key is called 'unknown' now.",
            "The exchange 'gateio' of 2 API keys is called 'gate' now.",
            f"API key {ids[older.id]} is deleted, because {ids[newer.id]} is newer and has the same {THREE}",
            (
                f"API key {ids[deleted.id]} is deleted, as its client {now[deleted.id]['client_id']} is,"
                " and comes back with it."
            ),
            f"Client {bob} has no external id, because client {carl} has the same one, 'E'.",
            (
                "1 API key that the old system had deleted counts as deleted since the takeover: KEYSERVICE_ERASE_AFTER"
                " from then its credentials are erased for good."
            ),
            "The old table is kept as keybridge_legacy.clients.",
            (
                f"The old table is kept as keybridge_legacy.exchange_api_keys, without its columns {SECRETS}."
                " What its column permissions says was not taken over."
            ),
            "7 API keys still waiting for the key that opens them.",
        ]
    )
