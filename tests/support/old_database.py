"""Old web backends' databases for tests: one of the three states, filled with tokens made at run time."""

import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
from cryptography.fernet import Fernet
from pydantic import SecretStr

from servicekit.database.url import DatabaseUrl
from tests.support.postgres import BINARIES

SCRIPTS = Path(__file__).with_name("old_databases")
WITHOUT, NULLABLE, NO_DEFAULT = "without_updated_at", "nullable_updated_at", "updated_at_without_default"
STATES = (WITHOUT, NULLABLE, NO_DEFAULT)


@dataclass(frozen=True)
class OldKey:
    """A row as it was put in, and what its tokens hold."""

    id: str
    client_id: str | None
    exchange: str | None
    label: str
    values: dict[str, str]
    tokens: dict[str, str]
    created_at: datetime | None
    updated_at: datetime | None


@dataclass
class OldDatabase:
    """A database of an old web backend, which a test fills row by row."""

    url: DatabaseUrl
    state: str
    key: SecretStr = field(default_factory=lambda: SecretStr(Fernet.generate_key().decode()))
    keys: list[OldKey] = field(default_factory=list)

    async def create(self) -> "OldDatabase":
        await self.execute((SCRIPTS / f"{self.state}.sql").read_text())
        return self

    async def execute(self, script: str) -> None:
        async with plain_connection(self.url) as connection:
            await connection.execute(script)

    async def add_client(self, client_id: str, **columns: object) -> None:
        values = {"id": client_id, "name": f"The client {client_id}"} | columns
        if self.state == NO_DEFAULT:
            values.setdefault("updated_at", datetime.fromisoformat("2024-01-01T00:00:00+00:00"))
        await self._insert("clients", values)

    async def add_key(
        self,
        client_id: str | None,
        exchange: str | None,
        label: str = "",
        *,
        sealed_by: SecretStr | None = None,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
        values: dict[str, str] | None = None,
        **columns: object,
    ) -> OldKey:
        """A row with secrets of its own, or with the ones that are given."""
        values = values or {"api_key": secrets.token_hex(16), "api_secret": secrets.token_hex(16)}
        fernet = Fernet((sealed_by or self.key).get_secret_value())
        tokens = {name: fernet.encrypt(value.encode()).decode() for name, value in values.items()}
        stored: dict[str, object] = {
            name: token.encode() if self.state == NO_DEFAULT else token for name, token in tokens.items()
        }
        stored |= {"client_id": client_id, "exchange": exchange, "created_at": created_at} | columns
        stored["name" if self.state == NULLABLE else "label"] = label
        if self.state == NO_DEFAULT:
            updated_at = updated_at or created_at or datetime(2024, 2, 2)  # noqa: DTZ001 - without zone, as theirs
        if self.state != WITHOUT:
            stored["id"] = str(uuid4()) if self.state == NO_DEFAULT else f"key-{len(self.keys)}"
            stored["updated_at"] = updated_at
        row_id = await self._insert("exchange_api_keys", stored)
        key = OldKey(row_id, client_id, exchange, label, values, tokens, created_at, updated_at)
        self.keys.append(key)
        return key

    async def set_token(self, key: OldKey, column: str, token: str) -> None:
        async with plain_connection(self.url) as connection:
            statement = f"UPDATE exchange_api_keys SET {column} = $1 WHERE id::text = $2"  # noqa: S608 - ours
            await connection.execute(statement, token, key.id)

    async def _insert(self, table: str, values: dict[str, object]) -> str:
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) RETURNING id::text"  # noqa: S608
        async with plain_connection(self.url) as connection:
            row_id: str = await connection.fetchval(statement, *values.values())
        return row_id


@asynccontextmanager
async def plain_connection(url: DatabaseUrl) -> AsyncIterator[asyncpg.Connection]:
    """As someone at psql would have it."""
    connection = await asyncpg.connect(host=url.host, port=url.port, user=url.user, database=url.database)
    try:
        yield connection
    finally:
        await connection.close()


async def new_ids(url: DatabaseUrl) -> dict[str, UUID]:
    """The new id of each API key, by the old one, as the audit record has it."""
    query = "SELECT details->>'old_id', api_key_id FROM audit_events WHERE action = 'TakeOverApiKey'"
    async with plain_connection(url) as connection:
        return dict(await connection.fetch(query))


async def api_keys(url: DatabaseUrl) -> dict[str, asyncpg.Record]:
    """The API keys as they are now, by old id."""
    ids = await new_ids(url)
    async with plain_connection(url) as connection:
        rows = {row["id"]: row for row in await connection.fetch("SELECT * FROM exchange_api_keys")}
    return {old_id: rows[new_id] for old_id, new_id in ids.items()}


def dump(url: DatabaseUrl, *arguments: str) -> str:
    """What pg_dump prints of a database, without what differs from run to run."""
    target = f"postgresql://{url.user}@/{url.database}?host={url.host}&port={url.port}"
    done = subprocess.run(
        [BINARIES / "pg_dump", "-d", target, *arguments], capture_output=True, text=True, check=True
    )
    return "\n".join(line for line in done.stdout.splitlines() if "restrict" not in line)
