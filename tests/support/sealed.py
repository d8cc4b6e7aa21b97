"""Sealed rows for tests: made many at once, and read back as whoever has the keys would read them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import insert, select, text

from keyservice import models
from keyservice.credentials import FIELDS
from keyservice.keyring import Keyring
from keyservice.sealing import MasterKey
from servicekit.database.engine import Database


def new_key() -> SecretStr:
    return SecretStr(MasterKey.generate())


def id_of(key: SecretStr) -> str:
    return MasterKey(key.get_secret_value()).key_id


def new_values() -> dict[str, bytes]:
    """What a client might have given: not all fields, and none twice the same."""
    return {name: secrets.token_hex(16).encode() for name in FIELDS[:2]}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table of API keys, as far as sealing knows it."""

    id: UUID
    client_id: UUID
    secret_version: int
    key_id: str | None
    sealed: Mapping[str, str | None]

    def open(self, keyring: Keyring) -> dict[str, bytes]:
        return keyring.open(
            self.sealed,
            key_id=self.key_id,
            client_id=self.client_id,
            row_id=self.id,
            secret_version=self.secret_version,
        )


async def add_client(database: Database) -> UUID:
    client_id = uuid4()
    async with database.transaction() as connection:
        await connection.execute(insert(models.Client).values(id=client_id, name="a client"))
    return client_id


async def add_rows(
    database: Database, keyring: Keyring, client_id: UUID, count: int, **columns: object
) -> dict[UUID, dict[str, bytes]]:
    """Rows with secrets of their own; what was sealed in them, by id."""
    values = {uuid4(): new_values() for _ in range(count)}
    rows: list[dict[str, Any]] = []
    for row_id, each in values.items():
        key_id, sealed = keyring.seal(each, client_id=client_id, row_id=row_id, secret_version=1)
        place = {"id": row_id, "client_id": client_id, "label": str(row_id), "exchange": "kraken"}
        rows.append(place | {"connector_name": f"kraken:{row_id}", "key_id": key_id} | sealed | columns)
    async with database.transaction() as connection:
        await connection.execute(insert(models.ExchangeApiKey), rows)
    return values


async def read_rows(database: Database, row_ids: Sequence[UUID] = ()) -> dict[UUID, Row]:
    """All rows, or those that are named, by id."""
    table = models.ExchangeApiKey
    sealed = [getattr(table, name) for name in FIELDS]
    statement = select(table.id, table.client_id, table.secret_version, table.key_id, *sealed)
    if row_ids:
        statement = statement.where(table.id.in_(row_ids))
    async with database.autocommit() as connection:
        found = (await connection.execute(statement)).all()
    return {
        row_id: Row(row_id, client_id, secret_version, key_id, dict(zip(FIELDS, tokens, strict=True)))
        for row_id, client_id, secret_version, key_id, *tokens in found
    }


async def dump(database: Database) -> list[str]:
    """Every row of the tables that hold anything sealed, with where it lies and who wrote it."""
    lines: list[str] = []
    async with database.autocommit() as connection:
        for table in ("encryption_keys", "exchange_api_keys"):
            statement = text(f"SELECT (t.ctid, t.xmin, t.*)::text FROM {table} t ORDER BY t.ctid")  # noqa: S608 - ours
            lines += (await connection.execute(statement)).scalars()
    return lines


async def execute(database: Database, statement: str, **parameters: object) -> None:
    """Plain SQL, as someone at psql would type it."""
    async with database.transaction() as connection:
        await connection.execute(text(statement), parameters)
