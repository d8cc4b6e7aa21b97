"""``keybridge secrets rotate``: everything that is sealed moves under another master key, and can be read there."""

from functools import partial
from uuid import UUID

import pytest
from pydantic import SecretStr

from keybridge import secrets
from keyservice.keyring import Keyring, open_keyring
from servicekit.database.engine import Database
from servicekit.database.url import DatabaseUrl
from tests.keybridge.conftest import Done, Here, Start
from tests.support.sealed import add_client, add_rows, dump, execute, id_of, new_key, read_rows

ROWS = 7
ROTATE = partial(secrets.rotate, promote=False)
PROMOTE = partial(secrets.rotate, promote=True)


@pytest.fixture
def old() -> SecretStr:
    return new_key()


@pytest.fixture
async def values(database: Database, old: SecretStr) -> dict[UUID, dict[str, bytes]]:
    """What is sealed under the old key, by row."""
    keyring = await open_keyring(database, [old])
    return await add_rows(database, keyring, await add_client(database), ROWS)


def variables(url: DatabaseUrl, *keys: SecretStr) -> dict[str, str]:
    listed = ",".join(key.get_secret_value() for key in keys)
    return {"DATABASE_URL": str(url), "KEYSERVICE_ENCRYPTION_KEYS": listed}


async def opened(database: Database, keyring: Keyring) -> dict[UUID, dict[str, bytes]]:
    return {row_id: row.open(keyring) for row_id, row in (await read_rows(database)).items()}


def require_one_sentence(done: Done, *keys: SecretStr) -> None:
    assert done.said.startswith("keybridge: ")
    assert done.said.count("\n") == 1
    for key in keys:
        assert key.get_secret_value() not in done.said


async def test_a_key_that_stood_by_takes_over_and_the_old_one_is_forgotten_once_it_is_no_longer_named(
    keybridge: Start,
    here: Here,
    database: Database,
    database_url: DatabaseUrl,
    old: SecretStr,
    values: dict[UUID, dict[str, bytes]],
) -> None:
    new = new_key()
    await open_keyring(database, [old, new])
    running = await keybridge("secrets", "rotate", measured=True, **variables(database_url, new, old))
    assert await running.ends() == 0
    assert f"{ROWS} of {ROWS} rows sealed anew" in running.said
    assert running.said.endswith(f"Every row is sealed under the master key {id_of(new)}.\n")
    assert await opened(database, await open_keyring(database, [new])) == values
    done = await here(ROTATE, **variables(database_url, new))
    assert done.status == 0
    assert f"The master key {id_of(old)} is not needed by any row any more" in done.said


async def test_a_key_that_the_database_never_met_is_promoted_only_when_asked(
    here: Here,
    database: Database,
    database_url: DatabaseUrl,
    old: SecretStr,
    values: dict[UUID, dict[str, bytes]],
) -> None:
    new = new_key()
    before = await dump(database)
    refused = await here(ROTATE, **variables(database_url, new, old))
    assert refused.status == 1
    require_one_sentence(refused, new, old)
    assert "keybridge secrets rotate --promote" in refused.said
    assert await dump(database) == before
    assert (await here(PROMOTE, **variables(database_url, new, old))).status == 0
    assert await opened(database, await open_keyring(database, [new])) == values


async def test_a_second_run_changes_nothing(
    here: Here,
    database: Database,
    database_url: DatabaseUrl,
    old: SecretStr,
    values: dict[UUID, dict[str, bytes]],
) -> None:
    new = new_key()
    assert (await here(PROMOTE, **variables(database_url, new, old))).status == 0
    before = await dump(database)
    again = await here(ROTATE, **variables(database_url, new, old))
    assert again.status == 0
    assert again.said.endswith(f"Every row is sealed under the master key {id_of(new)}.\n")
    assert await dump(database) == before


async def test_with_a_wrong_key_it_stops_and_writes_nothing(
    here: Here,
    database: Database,
    database_url: DatabaseUrl,
    old: SecretStr,
    values: dict[UUID, dict[str, bytes]],
) -> None:
    before = await dump(database)
    wrong = new_key()
    for command in (ROTATE, PROMOTE):
        done = await here(command, **variables(database_url, wrong))
        assert done.status == 1
        require_one_sentence(done, wrong)
        assert f"it needs {id_of(old)}" in done.said
    assert await dump(database) == before


async def test_without_a_key_for_a_database_that_was_named_it_stops(
    here: Here, database_url: DatabaseUrl
) -> None:
    done = await here(ROTATE, DATABASE_URL=str(database_url))
    assert done.status == 2
    require_one_sentence(done)
    assert "KEYSERVICE_ENCRYPTION_KEYS is empty" in done.said


async def test_a_key_that_was_cut_is_told_by_its_place(
    here: Here, database_url: DatabaseUrl, old: SecretStr
) -> None:
    cut = SecretStr(new_key().get_secret_value()[:-8])
    done = await here(ROTATE, **variables(database_url, old, cut))
    assert done.status == 2
    require_one_sentence(done, old, cut)
    assert "Key 2 of the 2 in KEYSERVICE_ENCRYPTION_KEYS is malformed" in done.said


async def test_rows_of_an_old_database_that_wait_for_adoption_are_told_and_are_no_success(
    here: Here,
    database: Database,
    database_url: DatabaseUrl,
    old: SecretStr,
    values: dict[UUID, dict[str, bytes]],
) -> None:
    await execute(database, "UPDATE exchange_api_keys SET key_id = NULL")
    done = await here(ROTATE, **variables(database_url, old))
    assert done.status == 1
    assert f"{ROWS} rows still wait with the secrets of an older system" in done.said
    assert "keybridge db adopt" in done.said
    assert "Every row" not in done.said
