"""Sealed values that were moved in the database do not open: not in another row, field, client or version."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, update

from keyservice import models
from keyservice.credentials import FIELDS
from keyservice.keyring import Keyring, KeyUnreadable, open_keyring
from keyservice.store import api_keys
from keyservice.store.api_keys import Secrets
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from tests.support.sealed import Row, add_client, new_key, read_rows

VALUES = {field: f"the {field}".encode() for field in FIELDS}


class Custodian:
    """A database with two clients, each with two keys, each with two versions of its secrets, one after the other."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self.database = database
        self.keyring = keyring
        self.tokens: dict[tuple[UUID, str, int], str] = {}
        """Every sealed value that ever lay in the database, by row, field and version."""

    async def fill(self) -> None:
        for _ in range(2):
            client_id = await add_client(self.database)
            for _ in range(2):
                await self._add(client_id, uuid4())
        for row in (await read_rows(self.database)).values():
            await self._rotate(row)

    async def _add(self, client_id: UUID, row_id: UUID) -> None:
        key_id, sealed = self.keyring.seal(VALUES, client_id=client_id, row_id=row_id, secret_version=1)
        self._remember(row_id, 1, sealed)
        place = {"id": row_id, "client_id": client_id, "label": str(row_id), "exchange": "kraken"}
        async with self.database.transaction() as connection:
            await connection.execute(
                insert(models.ExchangeApiKey).values(
                    **place, **sealed, key_id=key_id, connector_name=f"kraken:{row_id}"
                )
            )

    async def _rotate(self, row: Row) -> None:
        key_id, sealed = self.keyring.seal(VALUES, client_id=row.client_id, row_id=row.id, secret_version=2)
        self._remember(row.id, 2, sealed)
        new = Secrets(sealed, key_id, 2, key_hint="", fingerprint=None)
        async with self.database.transaction() as connection:
            assert await api_keys.replace_secrets(connection, row.id, new, expected_version=1)

    def _remember(self, row_id: UUID, version: int, sealed: Mapping[str, str]) -> None:
        self.tokens |= {(row_id, field, version): token for field, token in sealed.items()}

    async def write(self, row_id: UUID, **columns: Any) -> None:
        """As someone would who can write to the table, and has no master key."""
        table = models.ExchangeApiKey
        async with self.database.transaction() as connection:
            await connection.execute(update(table).where(table.id == row_id).values(**columns))

    def opens(self, row: Row) -> bool:
        try:
            row.open(self.keyring)
        except KeyUnreadable:
            return False
        return True


@pytest.fixture
async def custodian(database_url: DatabaseUrl) -> Any:
    database = Database(DatabaseOptions(url=database_url, pool_size=2))
    custodian = Custodian(database, await open_keyring(database, [new_key()]))
    await custodian.fill()
    yield custodian
    await database.close()


async def test_every_sealed_value_in_every_other_place_of_the_table_is_refused(custodian: Custodian) -> None:
    rows = await read_rows(custodian.database)
    assert len(custodian.tokens) == 2 * 2 * len(FIELDS) * 2
    tried = 0
    for row_id, field in itertools.product(rows, FIELDS):
        for origin, token in custodian.tokens.items():
            await custodian.write(row_id, **{field: token})
            moved = (await read_rows(custodian.database, [row_id]))[row_id]
            assert custodian.opens(moved) == (origin == (row_id, field, 2)), (origin, row_id, field)
            tried += 1
        await custodian.write(row_id, **{field: custodian.tokens[row_id, field, 2]})
    assert tried == len(rows) * len(FIELDS) * len(custodian.tokens)
    # Control: put back as they were, all of them open.
    assert [row.open(custodian.keyring) for row in (await read_rows(custodian.database)).values()] == [
        VALUES
    ] * 4


async def test_two_rows_that_swap_all_their_secrets_are_both_refused(custodian: Custodian) -> None:
    rows = await read_rows(custodian.database)
    for one, other in itertools.permutations(rows.values(), 2):
        await custodian.write(one.id, **other.sealed)
        await custodian.write(other.id, **one.sealed)
        swapped = await read_rows(custodian.database, [one.id, other.id])
        assert not any(custodian.opens(row) for row in swapped.values())
        await custodian.write(one.id, **one.sealed)
        await custodian.write(other.id, **other.sealed)


async def test_a_row_moved_to_another_client_or_back_to_an_older_version_is_refused(
    custodian: Custodian,
) -> None:
    rows = await read_rows(custodian.database)
    client_ids = {row.client_id for row in rows.values()}
    for row in rows.values():
        [other] = client_ids - {row.client_id}
        for changed in ({"client_id": other}, {"secret_version": 1}, {"secret_version": 3}):
            await custodian.write(row.id, **changed)
            moved = (await read_rows(custodian.database, [row.id]))[row.id]
            assert moved == replace(row, **changed)
            assert not custodian.opens(moved)
            await custodian.write(row.id, client_id=row.client_id, secret_version=row.secret_version)
        # The old secrets under their old version are the one thing that a writer of the table can bring back.
        old = {field: custodian.tokens[row.id, field, 1] for field in FIELDS}
        await custodian.write(row.id, **old)
        assert not custodian.opens((await read_rows(custodian.database, [row.id]))[row.id])
        await custodian.write(row.id, **row.sealed)
