"""``keybridge audit verify``: says whether the record of who did what is what it was, with a status for each answer."""

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from keybridge import audit
from keyservice.keyring import Keyring, open_keyring
from servicekit.database.engine import Database
from servicekit.database.url import DatabaseUrl
from tests.keybridge.conftest import Done, Here, Start
from tests.support.audit import add_events, seal_batches
from tests.support.sealed import dump, execute, new_key

PROVE = partial(audit.verify, seal_within="10m")
VERIFY = partial(PROVE, checkpoint=None, since_checkpoint=False)


@pytest.fixture
def master_key() -> SecretStr:
    return new_key()


@pytest.fixture
async def keyring(database: Database, master_key: SecretStr) -> Keyring:
    """That of a record of six events under three seals, and two that are not sealed yet."""
    keyring = await open_keyring(database, [master_key])
    await seal_batches(database, keyring, 1, 2, 3)
    await add_events(database, 2)
    return keyring


@pytest.fixture
def variables(database_url: DatabaseUrl, master_key: SecretStr, keyring: Keyring) -> dict[str, str]:
    return {"DATABASE_URL": str(database_url), "KEYSERVICE_ENCRYPTION_KEYS": master_key.get_secret_value()}


def require_one_sentence(done: Done, status: int) -> None:
    assert done.status == status
    assert done.said.startswith("keybridge: ")
    assert done.said.count("\n") == 1


async def test_an_intact_record_is_told_with_status_0_and_how_much_of_it_is_not_sealed_yet(
    keybridge: Start, variables: dict[str, str]
) -> None:
    running = await keybridge("audit", "verify", measured=True, **variables)
    assert await running.ends() == 0
    told = running.said.splitlines()
    assert told[-1] == "The audit record is intact: 6 events under 3 seals."
    assert told[-2].startswith("Not sealed yet: 2 events, the oldest of 20")


async def test_events_that_have_been_waiting_for_their_seal_for_too_long_are_told_with_status_3(
    keybridge: Start, here: Here, database: Database, variables: dict[str, str]
) -> None:
    await execute(
        database, "UPDATE audit_events SET created_at = now() - interval '11 min' WHERE position > 6"
    )
    running = await keybridge("audit", "verify", measured=True, **variables)
    assert await running.ends() == 3
    last = running.said.splitlines()[-1]
    assert last.startswith("The audit record is intact as far as it is sealed: 6 events under 3 seals. But")
    assert "HELD UP" in last
    patient = await here(partial(VERIFY, seal_within="12m"), **variables)
    assert patient.status == 0
    await execute(database, "DELETE FROM audit_events WHERE position = 5")
    assert (await here(VERIFY, **variables)).status == 1


async def test_how_long_an_event_may_wait_is_a_duration(here: Here, variables: dict[str, str]) -> None:
    done = await here(partial(VERIFY, seal_within="soon"), **variables)
    require_one_sentence(done, 2)
    assert "--seal-within should be a duration" in done.said


async def test_a_record_that_is_not_what_it_was_is_told_with_status_1(
    keybridge: Start, database: Database, variables: dict[str, str]
) -> None:
    await execute(database, "DELETE FROM audit_events WHERE position = 5")
    running = await keybridge("audit", "verify", measured=True, **variables)
    assert await running.ends() == 1
    assert "Missing under seal 3 (positions 4 to 6, sealed at 20" in running.said
    assert (
        running.said.splitlines()[-1]
        == "The audit record is NOT what it was: 1 finding; looked at 5 events under 3 seals."
    )


async def test_of_very_many_findings_the_number_is_told(
    here: Here,
    database: Database,
    keyring: Keyring,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keyservice.audit_verification._MOST_TOLD", 1)
    await execute(database, "DELETE FROM audit_events")
    done = await here(VERIFY, **variables)
    assert done.status == 1
    assert "And 2 more.\n" in done.said


async def test_long_work_says_how_far_it_is(
    here: Here, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_TELL_EVERY", 1)
    assert "6 events under 3 seals verified\n" in (await here(VERIFY, **variables)).said


async def test_a_checkpoint_finds_a_record_that_was_cut_off_and_is_renewed_only_by_an_intact_one(
    here: Here, database: Database, keyring: Keyring, variables: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint"
    verify = partial(PROVE, checkpoint=file, since_checkpoint=False)
    first = await here(verify, **variables)
    assert first.status == 0
    assert f"{file} was not there: it is from now on" in first.said
    kept = file.read_text()
    await seal_batches(database, keyring)
    await execute(database, "DELETE FROM audit_seals WHERE number = 3")
    await execute(database, "DELETE FROM audit_events WHERE position > 3")
    assert (await here(VERIFY, **variables)).status == 0
    cut = await here(verify, **variables)
    assert cut.status == 1
    assert "The record was cut off: the checkpoint names seal 3, and it ends with seal 2." in cut.said
    assert file.read_text() == kept
    assert await asyncio.to_thread(os.listdir, tmp_path) == [file.name]


async def test_since_the_checkpoint_only_what_is_new_is_verified_and_the_checkpoint_moves_on(
    here: Here, database: Database, keyring: Keyring, variables: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint"
    full = partial(PROVE, checkpoint=file, since_checkpoint=False)
    since = partial(PROVE, checkpoint=file, since_checkpoint=True)
    refused = await here(since, **variables)
    require_one_sentence(refused, 2)
    assert "--since-checkpoint needs a --checkpoint file" in refused.said
    assert (await here(full, **variables)).status == 0
    await execute(database, "DELETE FROM audit_events WHERE position > 6")
    await seal_batches(database, keyring, 4)
    assert "intact: 4 events under 1 seal." in (await here(since, **variables)).said
    assert "intact: 0 events under 0 seals" in (await here(since, **variables)).said


async def test_a_checkpoint_of_a_record_without_a_seal_is_not_written(
    here: Here, database: Database, database_url: DatabaseUrl, tmp_path: Path
) -> None:
    key = new_key()
    await open_keyring(database, [key])
    file = tmp_path / "checkpoint"
    done = await here(
        partial(PROVE, checkpoint=file, since_checkpoint=False),
        DATABASE_URL=str(database_url),
        KEYSERVICE_ENCRYPTION_KEYS=key.get_secret_value(),
    )
    assert done.status == 0
    assert "There is no seal yet" in done.said
    assert not file.exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"seal": 1, "mac": "zz"}', '{"seal": null, "mac": ""}'])
async def test_a_file_that_is_no_checkpoint_is_refused_and_left_as_it_is(
    here: Here, variables: dict[str, str], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "checkpoint"
    file.write_text(content)
    done = await here(partial(PROVE, checkpoint=file, since_checkpoint=False), **variables)
    require_one_sentence(done, 2)
    assert "is not one that this command wrote" in done.said
    assert file.read_text() == content


async def test_a_checkpoint_that_can_not_be_written_is_told(
    here: Here, variables: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "checkpoint"
    done = await here(partial(PROVE, checkpoint=file, since_checkpoint=False), **variables)
    require_one_sentence(done, 2)
    assert "can't be written" in done.said


async def test_what_can_not_be_verified_is_status_2_in_one_sentence(
    here: Here, database: Database, database_url: DatabaseUrl, variables: dict[str, str]
) -> None:
    other = new_key().get_secret_value()
    before = await dump(database)
    for changes, sentence in (
        ({"KEYSERVICE_ENCRYPTION_KEYS": other}, "None of the keys in KEYSERVICE_ENCRYPTION_KEYS"),
        ({"KEYSERVICE_ENCRYPTION_KEYS": ""}, "KEYSERVICE_ENCRYPTION_KEYS"),
        (
            {"DATABASE_URL": "postgresql://127.0.0.1:1/nothing", "KEYSERVICE_DB_START_TIMEOUT": "0s"},
            "127.0.0.1:1",
        ),
    ):
        done = await here(VERIFY, **{**variables, **changes})
        require_one_sentence(done, 2)
        assert sentence in done.said
        assert other not in done.said
    assert await dump(database) == before


async def test_a_database_without_a_master_key_has_nothing_to_verify(
    here: Here, database_url: DatabaseUrl
) -> None:
    key = new_key().get_secret_value()
    done = await here(VERIFY, DATABASE_URL=str(database_url), KEYSERVICE_ENCRYPTION_KEYS=key)
    require_one_sentence(done, 2)
    assert "has never met a master key" in done.said
