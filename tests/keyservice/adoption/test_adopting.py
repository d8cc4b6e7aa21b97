"""Adoption: each secret of an old database is sealed anew, and each that can't be is told of every time."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from keyservice.adoption import Progress, adopt, kept_report
from keyservice.adoption.old_key import OldKey
from keyservice.credentials import columns, from_columns
from keyservice.keyring import Keyring, open_keyring
from keyservice.sealing import MasterKey
from servicekit.credentials import Credentials
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.errors import FailedPrecondition, SettingsError
from tests.support.old_database import (
    NULLABLE,
    STATES,
    OldDatabase,
    api_keys,
    dump,
    new_ids,
    plain_connection,
)

LONG_AGO = datetime(2023, 5, 1, 12)  # noqa: DTZ001 - without zone, as theirs

ADOPT = """
import asyncio, os, sys
from pydantic import SecretStr
from keyservice.adoption import adopt
from keyservice.credentials import columns, from_columns
from keyservice.keyring import open_keyring
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url

async def main():
    database = Database(DatabaseOptions(url=parse_url(sys.argv[1]), pool_size=2, application_name="adopter"))
    keyring = await open_keyring(database, [SecretStr(os.environ["NEW_KEY"])])
    await adopt(database, keyring, SecretStr(os.environ["OLD_KEY"]), batch=int(sys.argv[2]))

asyncio.run(main())
"""


@pytest.fixture
async def database(empty_database_url: DatabaseUrl) -> AsyncIterator[Database]:
    database = Database(DatabaseOptions(url=empty_database_url, pool_size=3))
    yield database
    await database.close()


@pytest.fixture
def master_key() -> SecretStr:
    return SecretStr(MasterKey.generate())


@pytest.fixture
async def old(empty_database_url: DatabaseUrl) -> OldDatabase:
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.add_client("alice")
    await old.add_client("bob")
    return old


async def migrated(old: OldDatabase, database: Database, master_key: SecretStr) -> Keyring:
    await migrate.upgrade(old.url)
    return await open_keyring(database, [master_key])


def opened(keyring: Keyring, row: asyncpg.Record) -> dict[str, str]:
    sealed = {name: row[name] for name in ("api_key", "api_secret", "passphrase", "extra")}
    values = keyring.open(
        sealed,
        key_id=row["key_id"],
        client_id=row["client_id"],
        row_id=row["id"],
        secret_version=row["secret_version"],
    )
    return {name: value.decode() for name, value in values.items()}


async def live(old: OldDatabase) -> set[str]:
    return {old_id for old_id, row in (await api_keys(old.url)).items() if not row["is_deleted"]}


async def run_in_a_process(old: OldDatabase, master_key: SecretStr, batch: int) -> asyncio.subprocess.Process:
    url = f"postgresql://{old.url.user}@/{old.url.database}?host={old.url.host}&port={old.url.port}"
    keys = {"NEW_KEY": master_key.get_secret_value(), "OLD_KEY": old.key.get_secret_value()}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", ADOPT, url, str(batch), env={**os.environ, **keys}
    )


@pytest.mark.parametrize("state", STATES)
async def test_in_each_state_every_secret_is_sealed_anew(
    empty_database_url: DatabaseUrl, database: Database, master_key: SecretStr, state: str
) -> None:
    old = await OldDatabase(empty_database_url, state).create()
    await old.add_client("alice")
    values = {name: secrets.token_hex(16) for name in ("api_key", "api_secret", "passphrase")}
    with_passphrase = await old.add_key("alice", "okx", values=values)
    await old.add_key("alice", "kraken", created_at=LONG_AGO)
    await old.add_key("alice", "gateio", created_at=LONG_AGO)
    keyring = await migrated(old, database, master_key)
    report = await adopt(database, keyring, old.key)
    now = await api_keys(old.url)
    for key in old.keys:
        row = now[key.id]
        assert opened(keyring, row) == key.values
        assert row["key_id"] == keyring.current.key_id
        assert row["key_hint"] == key.values["api_key"][-4:]
        assert row["fingerprint"] == keyring.fingerprint(row["exchange"], key.values["api_key"].encode())
        assert (row["bridge_state"], row["secret_version"]) == ("pending", 1)
    assert now[with_passphrase.id]["extra"] is None
    assert list(report.lines())[:2] == [
        "The migration took over 3 API keys and 1 client.",
        "3 API keys sealed anew.",
    ]
    assert (report.nothing_left, report.waiting) == (False, 0)


async def test_what_is_true_of_a_key_does_not_change_by_it(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    await old.add_key("alice", "kraken", created_at=LONG_AGO)
    await old.add_key("alice", "okx", is_active=0)
    await old.add_key("alice", "gate", is_deleted=True)
    keyring = await migrated(old, database, master_key)
    before = await api_keys(old.url)
    await adopt(database, keyring, old.key)
    after = await api_keys(old.url)
    sealed = {"api_key", "api_secret", "passphrase", "key_id", "key_hint", "fingerprint"}
    # From then on a key can be taken to the bridge.
    sealed.add("next_attempt_at")
    for old_id, row in before.items():
        assert {name for name, value in row.items() if after[old_id][name] != value} <= sealed


async def test_a_second_run_changes_nothing_and_tells_the_same(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    await old.add_key("alice", "gateio")
    await old.add_key("ghost", "kraken")
    await old.add_key("bob", "kraken", sealed_by=SecretStr(Fernet.generate_key().decode()))
    keyring = await migrated(old, database, master_key)
    first = await adopt(database, keyring, old.key)
    before = dump(old.url)
    again = await adopt(database, keyring, old.key)
    assert dump(old.url) == before
    assert list(again.lines()) == [*first.lines(), "There is nothing left to do."]
    async with database.autocommit() as connection:
        assert await kept_report(connection) == first


async def test_a_row_that_does_not_open_is_kept_marked_and_reported(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    await old.add_key("alice", "kraken")
    strange = SecretStr(Fernet.generate_key().decode())
    lost = await old.add_key("bob", "kraken", sealed_by=strange)
    half = await old.add_key("bob", "okx")
    no_text = await old.add_key("bob", "gate")
    deleted = await old.add_key("bob", "htx", sealed_by=strange, is_deleted=True)
    disabled = await old.add_key("bob", "mexc", sealed_by=strange, is_active=0)
    binary = Fernet(old.key.get_secret_value()).encrypt(b"\xff\xfe").decode()
    for key, token in ((half, "cut"), (no_text, binary)):
        await old.set_token(key, "api_secret", token)
    keyring = await migrated(old, database, master_key)
    report = await adopt(database, keyring, old.key)
    now = await api_keys(old.url)
    for key in (lost, half, no_text):
        assert (now[key.id]["bridge_state"], now[key.id]["bridge_reason"]) == ("failed", "key_unreadable")
        assert now[key.id]["api_key"] == key.tokens["api_key"]
        assert now[key.id]["key_id"] is None
    for key in (deleted, disabled):
        assert (now[key.id]["bridge_state"], now[key.id]["bridge_reason"]) == ("removed", None)
    lines = "\n".join(report.lines())
    for key in (lost, half, no_text, deleted, disabled):
        assert f"API key {now[key.id]['id']} of client {now[key.id]['client_id']} does not open" in lines
    assert lines.endswith("5 API keys still waiting for the key that opens them.")


async def test_a_row_that_does_not_open_is_marked_again_after_it_was_disabled_for_a_while(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    await old.add_key("alice", "kraken")
    lost = await old.add_key("bob", "kraken", sealed_by=SecretStr(Fernet.generate_key().decode()))
    keyring = await migrated(old, database, master_key)
    await adopt(database, keyring, old.key)
    await old.execute("UPDATE exchange_api_keys SET bridge_state = 'pending', bridge_reason = NULL")
    report = await adopt(database, keyring, old.key)
    row = (await api_keys(old.url))[lost.id]
    assert (row["bridge_state"], row["bridge_reason"]) == ("failed", "key_unreadable")
    assert not report.nothing_left
    before = dump(old.url)
    assert (await adopt(database, keyring, old.key)).nothing_left
    assert dump(old.url) == before
    assert len([line for line in report.lines() if "does not open" in line]) == 1


async def test_paper_keys_are_all_alike_and_all_stay(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    values = {"api_key": "paper", "api_secret": "paper"}
    for label in ("one", "two"):
        await old.add_key("alice", "paper", label, values=values)
    keyring = await migrated(old, database, master_key)
    report = await adopt(database, keyring, old.key)
    assert len(await live(old)) == 2
    assert "SupersedeApiKey" not in report.counts
    assert [row["fingerprint"] for row in (await api_keys(old.url)).values()] == [None, None]


async def test_sealing_under_the_old_databases_own_key_is_warned_of(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    await old.add_key("alice", "kraken")
    warning = "The new seals are under the old database's own key"
    keyring = await migrated(old, database, old.key)
    for _ in range(2):
        report = await adopt(database, keyring, old.key)
        assert len([line for line in report.lines() if line.startswith(warning)]) == 1


async def test_what_one_old_key_did_not_open_another_one_may(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    other = SecretStr(Fernet.generate_key().decode())
    await old.add_key("alice", "kraken")
    late = await old.add_key("bob", "kraken", sealed_by=other)
    keyring = await migrated(old, database, master_key)
    await adopt(database, keyring, old.key)
    report = await adopt(database, keyring, other)
    row = (await api_keys(old.url))[late.id]
    assert opened(keyring, row) == late.values
    assert (row["bridge_state"], row["bridge_reason"]) == ("pending", None)
    assert report.waiting == 0
    assert not [line for line in report.lines() if "does not open" in line]


async def test_a_key_that_opens_nothing_is_not_the_key_and_nothing_is_written(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    for exchange in ("kraken", "okx", "gate"):
        await old.add_key("alice", exchange)
    keyring = await migrated(old, database, master_key)
    before = dump(old.url)
    wrong = SecretStr(Fernet.generate_key().decode())
    with pytest.raises(FailedPrecondition, match="not one of the 3 API keys that wait opens with it"):
        await adopt(database, keyring, wrong, batch=2)
    assert dump(old.url) == before


async def test_what_is_no_key_at_all_is_refused_without_being_shown(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    keyring = await migrated(old, database, master_key)
    with pytest.raises(SettingsError, match="encryption key is malformed: it holds 3 bytes") as refusal:
        await adopt(database, keyring, SecretStr("c2Vj"))
    assert "c2Vj" not in str(refusal.value)
    assert repr(OldKey(old.key)) == f"<OldKey {MasterKey(old.key.get_secret_value()).key_id}>"


async def test_a_database_that_never_was_another_has_nothing_to_adopt(
    database_url: DatabaseUrl, master_key: SecretStr
) -> None:
    database = Database(DatabaseOptions(url=database_url, pool_size=2))
    keyring = await open_keyring(database, [master_key])
    report = await adopt(database, keyring, SecretStr(Fernet.generate_key().decode()))
    await database.close()
    assert list(report.lines()) == [
        "The migration took over 0 API keys and 0 clients.",
        "0 API keys sealed anew.",
        "There is nothing left to do.",
    ]


@pytest.mark.parametrize("batch", [1, 500])
async def test_of_rows_with_the_same_key_the_newest_stays(
    old: OldDatabase, database: Database, master_key: SecretStr, batch: int
) -> None:
    values = {"api_key": secrets.token_hex(16), "api_secret": secrets.token_hex(16)}
    same = []
    for number in (3, 1, 4, 0, 2):
        created_at = LONG_AGO + timedelta(days=number)
        same.append(await old.add_key("alice", "kraken", f"l{number}", values=values, created_at=created_at))
    others = [
        await old.add_key("bob", "kraken", values=values),
        await old.add_key("alice", "okx", values=values),
    ]
    keyring = await migrated(old, database, master_key)
    revisions = {old_id: row["revision"] for old_id, row in (await api_keys(old.url)).items()}
    report = await adopt(database, keyring, old.key, batch=batch)
    now = await api_keys(old.url)
    assert await live(old) == {same[2].id, *(key.id for key in others)}
    for key in old.keys:
        assert opened(keyring, now[key.id]) == values
    for key in (same[0], same[1], same[3], same[4]):
        assert now[key.id]["revision"] > revisions[key.id]
        assert now[key.id]["bridge_state"] == "removing"
    assert len([line for line in report.lines() if "has the same API key" in line]) == 4


async def test_a_key_that_was_added_since_is_newer_than_the_old_row(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    key = await old.add_key("alice", "kraken", "old")
    keyring = await migrated(old, database, master_key)
    row = (await api_keys(old.url))[key.id]
    added, plain = uuid4(), {name: value.encode() for name, value in key.values.items()}
    await add_key(old.url, keyring, added, row["client_id"], from_columns(plain))
    await adopt(database, keyring, old.key)
    assert await live(old) == set()
    async with plain_connection(old.url) as connection:
        assert await connection.fetchval("SELECT id FROM exchange_api_keys WHERE NOT is_deleted") == added


async def add_key(
    url: DatabaseUrl, keyring: Keyring, key_id: UUID, client_id: UUID, credentials: Credentials
) -> None:
    """As AddApiKey stores one."""
    master, sealed = keyring.seal(columns(credentials), client_id=client_id, row_id=key_id, secret_version=1)
    fingerprint = keyring.fingerprint("kraken", credentials.api_key.encode())
    async with plain_connection(url) as connection:
        await connection.execute(
            "INSERT INTO exchange_api_keys (id, client_id, exchange, label, connector_name, api_key,"
            " api_secret, key_id, fingerprint) VALUES ($1, $2, 'kraken', '', 'kraken', $3, $4, $5, $6)",
            key_id, client_id, sealed["api_key"], sealed["api_secret"], master, fingerprint,
        )  # fmt: skip


async def test_white_space_around_a_secret_is_kept_and_reported(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    values = {"api_key": secrets.token_hex(16) + "\n", "api_secret": " " + secrets.token_hex(16)}
    key = await old.add_key("alice", "kraken", values=values)
    keyring = await migrated(old, database, master_key)
    report = await adopt(database, keyring, old.key)
    row = (await api_keys(old.url))[key.id]
    assert opened(keyring, row) == values
    assert row["key_hint"] == values["api_key"].strip()[-4:]
    assert [line for line in report.lines() if "white space around its api_key and api_secret" in line]


async def test_a_row_whose_secrets_were_replaced_meanwhile_is_left_alone(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    first, second = await old.add_key("alice", "kraken"), await old.add_key("alice", "okx")
    keyring = await migrated(old, database, master_key)
    ids = await new_ids(old.url)
    rows = sorted((first, second), key=lambda key: ids[key.id])
    erase = "UPDATE exchange_api_keys SET api_key = NULL, api_secret = NULL WHERE id = $1"
    async with plain_connection(old.url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(erase, ids[rows[1].id])
        adoption = asyncio.create_task(adopt(database, keyring, old.key))
        await sessions(old.url, "wait_event_type = 'Lock'", 1)
        await transaction.commit()
    report = await adoption
    now = await api_keys(old.url)
    assert now[rows[1].id]["key_id"] is None
    assert opened(keyring, now[rows[0].id]) == rows[0].values
    assert report.counts["AdoptApiKey"] == 1


async def sessions(url: DatabaseUrl, condition: str, count: int) -> None:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"  # noqa: S608
    async with asyncio.timeout(30), plain_connection(url) as connection:
        while await connection.fetchval(query) != count:  # noqa: ASYNC110 - inside PostgreSQL
            await asyncio.sleep(0.02)


async def test_killed_half_way_it_goes_on_where_it_was(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    for number in range(40):
        await old.add_key("alice", "kraken", str(number))
    keyring = await migrated(old, database, master_key)
    last = max((await new_ids(old.url)).values())
    async with plain_connection(old.url) as connection:
        # Its last batch waits for whoever has one of the rows, after the others were committed.
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT 1 FROM exchange_api_keys WHERE id = $1 FOR UPDATE", last)
        process = await run_in_a_process(old, master_key, 9)
        await sessions(old.url, "application_name = 'adopter' AND wait_event_type = 'Lock'", 1)
        process.kill()
        await process.wait()
        await transaction.rollback()
    await sessions(old.url, "application_name = 'adopter'", 0)
    half = [row["key_id"] for row in (await api_keys(old.url)).values()]
    assert (half.count(None), len(half)) == (4, 40)
    seen: list[Progress] = []
    await adopt(database, keyring, old.key, progress=seen.append)
    now = await api_keys(old.url)
    assert all(opened(keyring, now[key.id]) == key.values for key in old.keys)
    assert seen == [Progress(total=4, adopted=4)]
    async with plain_connection(old.url) as connection:
        events = "SELECT count(DISTINCT api_key_id), count(*) FROM audit_events WHERE action = 'AdoptApiKey'"
        assert tuple(await connection.fetchrow(events)) == (40, 40)


async def test_a_key_that_proved_itself_needs_no_second_proof(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    """As after a kill that left only rows that don't open."""
    await old.add_key("alice", "kraken")
    keyring = await migrated(old, database, master_key)
    await adopt(database, keyring, old.key)
    async with plain_connection(old.url) as connection:
        await connection.execute(
            "UPDATE exchange_api_keys SET key_id = NULL, api_key = 'cut', api_secret = 'cut'"
        )
    report = await adopt(database, keyring, old.key)
    assert (report.waiting, report.nothing_left) == (1, False)


async def test_no_secret_is_in_the_report_or_the_record(
    old: OldDatabase, database: Database, master_key: SecretStr
) -> None:
    values = {"api_key": " " + secrets.token_hex(16), "api_secret": secrets.token_hex(16)}
    await old.add_key("alice", "kraken", values=values)
    keyring = await migrated(old, database, master_key)
    report = await adopt(database, keyring, old.key)
    everything = "\n".join(report.lines()) + repr(report) + dump(old.url)
    for secret in (*values.values(), old.key.get_secret_value(), master_key.get_secret_value()):
        assert secret.strip() not in everything
    assert str(keyring.current.key_id) in everything
