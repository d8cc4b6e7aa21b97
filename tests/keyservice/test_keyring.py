"""A start with keys that fit registers them; one with keys that don't says why, and writes nothing."""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypedDict
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from keyservice.keyring import KeyUnreadable, open_keyring
from keyservice.sealing import MasterKey
from keyservice.store import encryption_keys
from servicekit.database.engine import Database
from servicekit.errors import SettingsError, StartupError
from tests.support.sealed import add_client, add_rows, dump, execute, id_of, new_key, read_rows


class Place(TypedDict):
    """Where something is sealed, as ``seal`` and ``open`` want to be told."""

    client_id: UUID
    row_id: UUID
    secret_version: int


PLACE = Place(client_id=uuid4(), row_id=uuid4(), secret_version=1)
DELETED = datetime(2026, 1, 1, tzinfo=UTC)


async def refusal(database: Database, keys: Sequence[SecretStr]) -> str:
    """The sentence of a start that fails, having written nothing and told nothing of any key."""
    before = await dump(database)
    with pytest.raises(StartupError) as refused:
        await open_keyring(database, keys)
    assert await dump(database) == before
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for key in keys:
        secret = key.get_secret_value()
        assert not secret or secret not in sentence
    return sentence


async def promoted(database: Database) -> dict[str, bool]:
    """Every registered key, the current one first, and whether it ever was the current one."""
    async with database.autocommit() as connection:
        found = await encryption_keys.registered(connection)
    return {key.key_id: key.promoted_at is not None for key in found}


# The first start


async def test_the_first_start_registers_every_key_and_makes_the_first_current(database: Database) -> None:
    keys = [new_key(), new_key()]
    keyring = await open_keyring(database, keys)
    assert keyring.key_ids == (id_of(keys[0]), id_of(keys[1]))
    assert keyring.current.key_id == id_of(keys[0])
    assert await promoted(database) == {id_of(keys[0]): True, id_of(keys[1]): False}


async def test_a_second_start_changes_nothing(database: Database) -> None:
    keys = [new_key(), new_key()]
    first = await open_keyring(database, keys)
    before = await dump(database)
    second = await open_keyring(database, keys)
    assert await dump(database) == before
    assert second.fingerprint("kraken", b"key") == first.fingerprint("kraken", b"key")


async def test_two_databases_have_different_index_keys(
    database: Database, make_database: Callable[[], Database]
) -> None:
    keys = [new_key()]
    first = await open_keyring(database, keys)
    await execute(database, "DELETE FROM encryption_keys")
    second = await open_keyring(database, keys)
    assert second.fingerprint("kraken", b"key") != first.fingerprint("kraken", b"key")


async def test_replicas_that_start_first_all_at_once_have_one_index_key(
    make_database: Callable[[], Database],
) -> None:
    keys = [new_key(), new_key()]
    started = await asyncio.gather(*(open_keyring(make_database(), keys) for _ in range(8)))
    assert len({keyring.fingerprint("kraken", b"key") for keyring in started}) == 1
    assert await promoted(make_database()) == {id_of(keys[0]): True, id_of(keys[1]): False}


async def test_replicas_that_start_first_with_different_keys_do_not_both_seal(
    make_database: Callable[[], Database],
) -> None:
    starts = [open_keyring(make_database(), [new_key()]) for _ in range(4)]
    ended = await asyncio.gather(*starts, return_exceptions=True)
    assert sorted(type(each).__name__ for each in ended) == ["Keyring"] + ["StartupError"] * 3
    assert len(await promoted(make_database())) == 1


async def test_rows_that_wait_for_adoption_do_not_stop_a_start(database: Database) -> None:
    keyring = await open_keyring(database, [new_key()])
    await execute(database, "DELETE FROM encryption_keys")
    client_id = await add_client(database)
    await add_rows(database, keyring, client_id, 3, key_id=None)
    await open_keyring(database, [new_key()])


# Keys that are no keys


async def test_an_empty_list_stops_the_start(database: Database) -> None:
    assert "is empty" in await refusal(database, [])


@pytest.mark.parametrize(("position", "count"), [(1, 1), (2, 3)])
async def test_a_truncated_key_stops_the_start_and_is_named_by_its_place(
    database: Database, position: int, count: int
) -> None:
    keys = [new_key() for _ in range(count)]
    keys[position - 1] = SecretStr(MasterKey.generate()[:40])
    sentence = await refusal(database, keys)
    assert f"Key {position} of the {count}" in sentence
    assert "30 bytes instead of 32" in sentence


async def test_a_key_that_is_not_base64_stops_the_start(database: Database) -> None:
    assert "is not URL-safe base64" in await refusal(database, [SecretStr("correct horse battery staple")])


async def test_an_empty_key_stops_the_start(database: Database) -> None:
    assert "Key 2 of the 2" in await refusal(database, [new_key(), SecretStr("")])


async def test_the_same_key_twice_stops_the_start(database: Database) -> None:
    key = new_key()
    assert "Keys 1 and 3" in await refusal(database, [key, new_key(), SecretStr(key.get_secret_value())])


async def test_the_same_key_in_another_spelling_is_the_same_key(database: Database) -> None:
    key = MasterKey.generate()
    # The last character before the padding has two spare bits.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelled = f"{key[:42]}{alphabet[alphabet.index(key[42]) + 1]}="
    assert "Keys 1 and 2" in await refusal(database, [SecretStr(key), SecretStr(spelled)])


async def test_what_is_wrong_with_the_setting_is_an_error_of_settings(database: Database) -> None:
    for keys in ([], [SecretStr("x")], [new_key()] * 2):
        with pytest.raises(SettingsError):
            await open_keyring(database, keys)


# Keys that do not fit the database


async def test_a_wrong_key_stops_the_start_and_both_are_named(database: Database) -> None:
    right, wrong = new_key(), new_key()
    keyring = await open_keyring(database, [right])
    await add_rows(database, keyring, await add_client(database), 3)
    sentence = await refusal(database, [wrong])
    assert "None of the keys" in sentence
    assert f"({id_of(wrong)})" in sentence
    assert f"{id_of(right)} (its current key and the key of 3 rows)" in sentence


async def test_a_wrong_key_stops_the_start_before_there_are_any_rows(database: Database) -> None:
    right, wrong = new_key(), new_key()
    await open_keyring(database, [right])
    assert f"{id_of(right)} (its current key and the key of 0 rows)" in await refusal(database, [wrong])


async def test_a_missing_key_stops_the_start_and_says_how_many_rows_need_it(database: Database) -> None:
    old, new = new_key(), new_key()
    keyring = await open_keyring(database, [old, new])
    client_id = await add_client(database)
    await add_rows(database, keyring, client_id, 4)
    await add_rows(database, keyring, client_id, 1, is_deleted=True, deleted_at=DELETED)
    await open_keyring(database, [new, old])
    sentence = await refusal(database, [new])
    assert "lacks a key" in sentence
    assert f"{id_of(old)} (the key of 5 rows)" in sentence
    assert id_of(new) not in sentence


async def test_the_current_key_is_needed_even_by_no_row(database: Database) -> None:
    old, new = new_key(), new_key()
    await open_keyring(database, [old, new])
    await open_keyring(database, [new, old])
    sentence = await refusal(database, [old])
    assert f"lacks a key that this database needs: {id_of(new)} (its current key" in sentence


async def test_a_key_that_claims_the_id_of_another_stops_the_start(database: Database) -> None:
    key = new_key()
    await open_keyring(database, [key])
    await execute(database, "UPDATE encryption_keys SET check_value = repeat('0', 64)")
    assert f"The key {id_of(key)}" in (sentence := await refusal(database, [key]))
    assert "tampered with" in sentence


async def test_a_damaged_index_key_stops_the_start(database: Database) -> None:
    key = new_key()
    await open_keyring(database, [key])
    await execute(database, "UPDATE encryption_keys SET index_key = overlay(index_key placing 'XX' from 30)")
    assert "does not open" in await refusal(database, [key])


async def test_index_keys_of_two_databases_stop_the_start(database: Database) -> None:
    one, two = new_key(), new_key()
    await open_keyring(database, [one])
    async with database.autocommit() as connection:
        [first] = await encryption_keys.registered(connection)
    await execute(database, "DELETE FROM encryption_keys")
    await open_keyring(database, [two])
    async with database.transaction() as connection:
        await encryption_keys.register(connection, [first])
    assert "different index keys" in await refusal(database, [two, one])


# Rotation, restart by restart


async def test_a_key_that_was_superseded_is_refused_in_front_and_promoted_when_asked(
    database: Database,
) -> None:
    old, new = new_key(), new_key()
    await open_keyring(database, [old, new])
    await open_keyring(database, [new, old])
    sentence = await refusal(database, [old, new])
    assert f"{id_of(old)}, was superseded: {id_of(new)} is current since" in sentence
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", sentence)
    assert "keybridge secrets rotate --promote" in sentence
    keyring = await open_keyring(database, [old, new], promote=True)
    assert keyring.current.key_id == id_of(old)
    assert list(await promoted(database)) == [id_of(old), id_of(new)]
    assert "was superseded" in await refusal(database, [new, old])


async def test_a_key_that_no_replica_had_before_is_refused_in_front_and_promoted_when_asked(
    database: Database,
) -> None:
    old, new = new_key(), new_key()
    await open_keyring(database, [old])
    sentence = await refusal(database, [new, old])
    assert f"{id_of(new)}, is new to this database" in sentence
    assert f"behind {id_of(old)}" in sentence
    await open_keyring(database, [new, old], promote=True)
    assert list(await promoted(database)) == [id_of(new), id_of(old)]


async def test_promote_changes_nothing_where_there_is_nothing_to_promote(database: Database) -> None:
    keys = [new_key(), new_key()]
    await open_keyring(database, keys)
    before = await dump(database)
    await open_keyring(database, keys, promote=True)
    assert await dump(database) == before


async def test_promote_does_not_excuse_a_missing_key(database: Database) -> None:
    await open_keyring(database, [new_key()])
    with pytest.raises(StartupError, match="None of the keys"):
        await open_keyring(database, [new_key()], promote=True)


async def test_replicas_may_restart_in_any_order_at_each_step_of_a_rotation(database: Database) -> None:
    old, new = new_key(), new_key()
    running = [await open_keyring(database, [old])]
    # The new key is deployed as second; a replica that lags behind may still restart without it.
    running += [await open_keyring(database, keys) for keys in ([old, new], [old], [old, new], [old])]
    assert list(await promoted(database)) == [id_of(old), id_of(new)]
    # It is put in front: from then on the old order does not start any more.
    for _ in range(2):
        running.append(await open_keyring(database, [new, old]))
        assert "was superseded" in await refusal(database, [old, new])
        assert "lacks a key" in await refusal(database, [old])
    assert list(await promoted(database)) == [id_of(new), id_of(old)]
    # The old one is dropped; a replica that still has it may restart too.
    running += [await open_keyring(database, keys) for keys in ([new], [new, old], [new])]
    assert len({keyring.fingerprint("kraken", b"key") for keyring in running}) == 1
    assert len({keyring.mac("page", b"token") for keyring in running}) == 1


async def test_the_promoted_key_is_the_latest_even_where_the_clock_was_set_back(database: Database) -> None:
    old, new = new_key(), new_key()
    await open_keyring(database, [old, new])
    await execute(
        database,
        "UPDATE encryption_keys SET promoted_at = promoted_at + interval '1 day' "
        "WHERE promoted_at IS NOT NULL",
    )
    await open_keyring(database, [new, old])
    assert list(await promoted(database)) == [id_of(new), id_of(old)]


async def test_promoting_at_once_from_many_replicas_promotes_once(
    database: Database, make_database: Callable[[], Database]
) -> None:
    old, new = new_key(), new_key()
    await open_keyring(database, [old, new])
    await asyncio.gather(*(open_keyring(make_database(), [new, old]) for _ in range(6)))
    after = await dump(database)
    await open_keyring(database, [new, old])
    assert await dump(database) == after


async def test_counting_the_rows_of_a_key_reads_no_others(database: Database) -> None:
    old, new = new_key(), new_key()
    keyring = await open_keyring(database, [old, new])
    client_id = await add_client(database)
    await add_rows(database, keyring, client_id, 2000)
    keyring = await open_keyring(database, [new, old])
    await add_rows(database, keyring, client_id, 10)
    async with database.autocommit() as connection:
        await connection.execute(text("VACUUM ANALYZE exchange_api_keys"))
    async with database.transaction() as connection:
        assert await encryption_keys.count_rows(connection, [id_of(new)]) == {id_of(new): 10}
        assert await encryption_keys.count_rows(connection, [id_of(new_key())]) == {}
        scans = text(
            "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'exchange_api_keys'"
        )
        whole, single = (await connection.execute(scans)).one()
        assert (whole, single <= 10) == (0, True)


# The keyring itself


async def test_what_is_sealed_opens_under_the_key_that_sealed_it(database: Database) -> None:
    old, new = new_key(), new_key()
    before = await open_keyring(database, [old, new])
    after = await open_keyring(database, [new, old])
    value = {"api_key": secrets.token_bytes(20)}
    for sealer, opener in ((before, after), (after, before), (after, after)):
        key_id, sealed = sealer.seal(value, **PLACE)
        assert key_id == sealer.current.key_id
        assert opener.open(sealed | {"extra": None}, key_id=key_id, **PLACE) == value


async def test_values_swapped_between_rows_of_the_table_do_not_open(database: Database) -> None:
    keyring = await open_keyring(database, [new_key()])
    values = await add_rows(database, keyring, await add_client(database), 1)
    values |= await add_rows(database, keyring, await add_client(database), 1)
    await execute(
        database,
        "UPDATE exchange_api_keys a SET api_secret = b.api_secret FROM exchange_api_keys b"
        " WHERE a.id <> b.id",
    )
    for row in (await read_rows(database)).values():
        with pytest.raises(KeyUnreadable, match="not sealed for this place"):
            row.open(keyring)
        assert keyring.open(
            {"api_key": row.sealed["api_key"]},
            key_id=row.key_id,
            client_id=row.client_id,
            row_id=row.id,
            secret_version=1,
        ) == {"api_key": values[row.id]["api_key"]}


async def test_an_unknown_key_id_is_unreadable_and_named(database: Database) -> None:
    keyring = await open_keyring(database, [new_key()])
    _, sealed = keyring.seal({"api_key": b"value"}, **PLACE)
    with pytest.raises(KeyUnreadable, match="0123456789abcdef"):
        keyring.open(sealed, key_id="0123456789abcdef", **PLACE)


async def test_a_row_that_waits_for_adoption_is_unreadable(database: Database) -> None:
    keyring = await open_keyring(database, [new_key()])
    with pytest.raises(KeyUnreadable, match="adopted"):
        keyring.open({"api_key": "an old token"}, key_id=None, **PLACE)


async def test_a_row_without_credentials_opens_to_nothing(database: Database) -> None:
    keyring = await open_keyring(database, [new_key()])
    assert keyring.open({"api_key": None, "extra": None}, key_id=None, **PLACE) == {}


async def test_authenticators_of_two_purposes_differ(database: Database) -> None:
    keyring = await open_keyring(database, [new_key()])
    assert keyring.mac("page token", b"x") != keyring.mac("request body", b"x")
    assert keyring.mac("page token", b"x") != keyring.fingerprint("page token", b"x")
    assert keyring.mac("page token", b"ab", b"c") != keyring.mac("page token", b"a", b"bc")


async def test_a_keyring_never_prints(database: Database) -> None:
    keys = [new_key(), new_key()]
    keyring = await open_keyring(database, keys)
    async with database.autocommit() as connection:
        registered = await encryption_keys.registered(connection)
    for shown in (
        repr(keyring),
        str(keyring),
        f"{keyring}",
        repr([keyring, keyring.current]),
        repr(registered),
    ):
        for key in keys:
            assert key.get_secret_value() not in shown
        assert all(key.index_key not in shown for key in registered)
    assert not hasattr(keyring, "__dict__")
