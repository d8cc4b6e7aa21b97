"""``keybridge db``: brings the schema up to date, says how it differs, and takes over an old database's secrets."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from keyservice.sealing import MasterKey
from servicekit.database.url import DatabaseUrl
from tests.keybridge.conftest import Start
from tests.support.old_database import NULLABLE, OldDatabase, dump


async def test_upgrade_says_from_where_to_where_and_the_second_time_that_nothing_was_to_do(
    keybridge: Start, empty_database_url: DatabaseUrl
) -> None:
    first = await keybridge("db", "upgrade", DATABASE_URL=str(empty_database_url))
    assert await first.ends() == 0
    await first.says("went from nothing to revision [0-9a-f]+")
    second = await keybridge("db", "upgrade", DATABASE_URL=str(empty_database_url))
    assert await second.ends() == 0
    await second.says("is at revision [0-9a-f]+ already")


async def test_check_is_content_with_a_database_that_is_up_to_date(
    keybridge: Start, database_url: DatabaseUrl
) -> None:
    running = await keybridge("db", "check", DATABASE_URL=str(database_url))
    assert await running.ends() == 0
    await running.says("is as this release expects")


async def test_check_says_what_differs_with_status_1(
    keybridge: Start, empty_database_url: DatabaseUrl
) -> None:
    running = await keybridge("db", "check", DATABASE_URL=str(empty_database_url))
    assert await running.ends() == 1
    await running.says("has never been migrated by keybridge")


async def test_without_settings_they_work_on_the_private_database(keybridge: Start, place: Path) -> None:
    upgraded = await keybridge("db", "upgrade")
    assert await upgraded.ends() == 0
    checked = await keybridge("db", "check")
    assert await checked.ends() == 0
    assert (place / "home" / "postgres").is_dir()


async def test_a_database_that_is_away_is_one_sentence(keybridge: Start) -> None:
    running = await keybridge("db", "check", DATABASE_URL="postgresql://127.0.0.1:1/nothing")
    assert await running.ends() == 1
    assert running.said.startswith("keybridge: ")
    assert running.said.count("\n") == 1


@pytest.fixture
async def old(empty_database_url: DatabaseUrl) -> OldDatabase:
    """An old web backend's database with two keys in it, and one that another key had sealed."""
    old = await OldDatabase(empty_database_url, NULLABLE).create()
    await old.add_client("alice")
    await old.add_key("alice", "binance")
    await old.add_key("alice", "gateio", values={"api_key": "k" * 16, "api_secret": "s" * 16})
    await old.add_key("alice", "kraken", sealed_by=SecretStr(Fernet.generate_key().decode()))
    return old


@pytest.fixture
def variables(old: OldDatabase) -> dict[str, str]:
    return {"DATABASE_URL": str(old.url), "KEYSERVICE_ENCRYPTION_KEYS": MasterKey.generate()}


async def test_adopt_seals_an_old_databases_secrets_anew_and_a_second_run_changes_nothing(
    keybridge: Start, old: OldDatabase, variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "old-key").write_text(old.key.get_secret_value() + "\n")
    arguments = ("db", "adopt", "--old-key-file", str(tmp_path / "old-key"))
    assert await (await keybridge("db", "upgrade", **variables)).ends() == 0
    first = await keybridge(*arguments, **variables)
    assert await first.ends() == 0
    for line in (
        "The migration took over 3 API keys and 1 client.",
        "2 API keys sealed anew.",
        "1 API key still waiting for the key that opens them.",
    ):
        assert line in first.said
    before = dump(old.url)
    second = await keybridge(*arguments, **variables)
    assert await second.ends() == 0
    assert "2 API keys sealed anew." in second.said
    assert dump(old.url) == before
    for secret in (old.key.get_secret_value(), "k" * 16, variables["KEYSERVICE_ENCRYPTION_KEYS"]):
        assert secret not in first.said + second.said + before


async def test_adopt_takes_the_old_key_from_its_variable_too(
    keybridge: Start, old: OldDatabase, variables: dict[str, str]
) -> None:
    assert await (await keybridge("db", "upgrade", **variables)).ends() == 0
    running = await keybridge("db", "adopt", **variables, ENCRYPTION_KEY=old.key.get_secret_value())
    assert await running.ends() == 0
    assert "2 API keys sealed anew." in running.said


async def test_adopt_stops_when_the_old_key_opens_nothing(
    keybridge: Start, old: OldDatabase, variables: dict[str, str]
) -> None:
    assert await (await keybridge("db", "upgrade", **variables)).ends() == 0
    before = dump(old.url, "--table=exchange_api_keys")
    wrong = Fernet.generate_key().decode()
    running = await keybridge("db", "adopt", **variables, ENCRYPTION_KEY=wrong)
    assert await running.ends() == 1
    assert running.said.startswith("keybridge: ")
    assert running.said.count("\n") == 1
    assert wrong not in running.said
    assert dump(old.url, "--table=exchange_api_keys") == before


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"not a key"])
async def test_adopt_says_what_is_wrong_with_the_file_of_the_old_key(
    keybridge: Start, database_url: DatabaseUrl, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "old-key").write_bytes(content)
    running = await keybridge(
        *("db", "adopt", "--old-key-file", str(tmp_path / "old-key")),
        DATABASE_URL=str(database_url),
        KEYSERVICE_ENCRYPTION_KEYS=MasterKey.generate(),
    )
    assert await running.ends() == 2
    assert running.said.startswith("keybridge: The ")
    assert running.said.count("\n") == 1
    assert "not a key" not in running.said


async def test_adopt_without_an_old_key_says_where_to_name_it(
    keybridge: Start, database_url: DatabaseUrl
) -> None:
    running = await keybridge(
        "db", "adopt", DATABASE_URL=str(database_url), KEYSERVICE_ENCRYPTION_KEYS=MasterKey.generate()
    )
    assert await running.ends() == 2
    assert "--old-key-file" in running.said
    assert "ENCRYPTION_KEY" in running.said
