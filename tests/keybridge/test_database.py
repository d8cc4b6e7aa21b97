"""``keybridge db``: brings the schema up to date, says how it differs, and takes over an old database's secrets."""

import re
from functools import partial
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from keybridge import database
from keyservice.sealing import MasterKey
from servicekit.database.url import DatabaseUrl
from tests.keybridge.conftest import Here, Start
from tests.support.old_database import NULLABLE, OldDatabase, dump

UPGRADE = partial(database.upgrade, revision="head")
ADOPT = partial(database.adopt, old_key_file=None)


async def test_upgrade_says_from_where_to_where_and_the_second_time_that_nothing_was_to_do(
    here: Here, empty_database_url: DatabaseUrl
) -> None:
    first = await here(UPGRADE, DATABASE_URL=str(empty_database_url))
    assert first.status == 0
    assert "went from nothing to revision " in first.said
    second = await here(UPGRADE, DATABASE_URL=str(empty_database_url))
    assert second.status == 0
    assert re.search("is at revision [0-9a-f]+ already", second.said)


async def test_check_is_content_with_a_database_that_is_up_to_date(
    here: Here, database_url: DatabaseUrl
) -> None:
    done = await here(database.check, DATABASE_URL=str(database_url))
    assert done.status == 0
    assert "is as this release expects" in done.said


async def test_check_says_what_differs_with_status_1(
    keybridge: Start, empty_database_url: DatabaseUrl
) -> None:
    running = await keybridge("db", "check", measured=True, DATABASE_URL=str(empty_database_url))
    assert await running.ends() == 1
    await running.says("has never been migrated by keybridge")


async def test_without_settings_they_work_on_the_private_database(keybridge: Start, place: Path) -> None:
    upgraded = await keybridge("db", "upgrade", measured=True)
    assert await upgraded.ends() == 0
    await upgraded.says("went from nothing to revision [0-9a-f]+")
    assert (place / "home" / "postgres").is_dir()


async def test_a_database_that_is_away_is_one_sentence(here: Here) -> None:
    done = await here(database.check, DATABASE_URL="postgresql://127.0.0.1:1/nothing")
    assert done.status == 1
    assert done.said.startswith("keybridge: ")
    assert done.said.count("\n") == 1


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
    keybridge: Start, here: Here, old: OldDatabase, variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "old-key").write_text(old.key.get_secret_value() + "\n")
    assert (await here(UPGRADE, **variables)).status == 0
    arguments = ("--old-key-file", str(tmp_path / "old-key"))
    first = await keybridge("db", "adopt", *arguments, measured=True, **variables)
    assert await first.ends() == 0
    for line in (
        "The migration took over 3 API keys and 1 client.",
        "2 API keys sealed anew.",
        "1 API key still waiting for the key that opens them.",
    ):
        assert line in first.said
    before = dump(old.url)
    second = await here(partial(database.adopt, old_key_file=tmp_path / "old-key"), **variables)
    assert second.status == 0
    assert "2 API keys sealed anew." in second.said
    assert dump(old.url) == before
    for secret in (old.key.get_secret_value(), "k" * 16, variables["KEYSERVICE_ENCRYPTION_KEYS"]):
        assert secret not in first.said + second.said + before


async def test_adopt_takes_the_old_key_from_its_variable_too(
    here: Here, old: OldDatabase, variables: dict[str, str]
) -> None:
    assert (await here(UPGRADE, **variables)).status == 0
    done = await here(ADOPT, **variables, ENCRYPTION_KEY=old.key.get_secret_value())
    assert done.status == 0
    assert "2 API keys sealed anew." in done.said


async def test_adopt_stops_when_the_old_key_opens_nothing(
    here: Here, old: OldDatabase, variables: dict[str, str]
) -> None:
    assert (await here(UPGRADE, **variables)).status == 0
    before = dump(old.url, "--table=exchange_api_keys")
    wrong = Fernet.generate_key().decode()
    done = await here(ADOPT, **variables, ENCRYPTION_KEY=wrong)
    assert done.status == 1
    assert done.said.splitlines()[-1].startswith("keybridge: ")
    assert wrong not in done.said
    assert dump(old.url, "--table=exchange_api_keys") == before


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"not a key"])
async def test_adopt_says_what_is_wrong_with_the_file_of_the_old_key(
    here: Here, database_url: DatabaseUrl, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "old-key").write_bytes(content)
    done = await here(
        partial(database.adopt, old_key_file=tmp_path / "old-key"),
        DATABASE_URL=str(database_url),
        KEYSERVICE_ENCRYPTION_KEYS=MasterKey.generate(),
    )
    assert done.status == 2
    assert done.said.startswith("keybridge: The ")
    assert done.said.count("\n") == 1
    assert "not a key" not in done.said


async def test_adopt_without_an_old_key_says_where_to_name_it(here: Here, database_url: DatabaseUrl) -> None:
    done = await here(ADOPT, DATABASE_URL=str(database_url), KEYSERVICE_ENCRYPTION_KEYS=MasterKey.generate())
    assert done.status == 2
    assert "--old-key-file" in done.said
    assert "ENCRYPTION_KEY" in done.said
