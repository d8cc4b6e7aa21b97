"""A rotation, killed twice while clients read and change their keys: nobody notices, and it ends complete.

``RESEALING_ROWS`` sets how many rows there are.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from keyservice.keyring import Keyring, open_keyring
from keyservice.store import api_keys
from keyservice.store.api_keys import Secrets
from servicekit.database.engine import Database
from servicekit.database.url import DatabaseUrl
from tests.support.sealed import add_client, add_rows, id_of, new_key, new_values, read_rows

ROWS = int(os.environ.get("RESEALING_ROWS", "1000"))
WRITERS = 4
BATCH = max(20, ROWS // 100)
PATIENCE = 60 + ROWS / 100
ROOT = Path(__file__).parents[2]


@dataclass
class Customer:
    """The only one to change some rows: what he was told is there has to be there, at every moment."""

    database: Database
    client_id: UUID
    held: dict[UUID, dict[str, bytes]]
    versions: dict[UUID, int] = field(default_factory=dict)
    deleted: set[UUID] = field(default_factory=set)
    reads: int = 0
    updates: int = 0

    async def work(self, keyring: Keyring, stopping: asyncio.Event) -> None:
        """Read, rotate and delete keys; whatever is not as it should be raises."""
        while not stopping.is_set():
            row_id = random.choice(list(self.held.keys() - self.deleted))  # noqa: S311 - which row is no secret
            what = random.random()  # noqa: S311
            if what < 0.7:
                await self.read(keyring, row_id)
            elif what < 0.99:
                await self.replace(keyring, row_id)
            else:
                await self.delete(row_id, erase=what < 0.995)

    async def read(self, keyring: Keyring, row_id: UUID) -> None:
        row = (await read_rows(self.database, [row_id]))[row_id]
        assert row.open(keyring) == self.held[row_id]
        self.reads += 1

    async def replace(self, keyring: Keyring, row_id: UUID) -> None:
        values = new_values()
        version = self.versions.get(row_id, 1)
        key_id, sealed = keyring.seal(
            values, client_id=self.client_id, row_id=row_id, secret_version=version + 1
        )
        new = Secrets(sealed, key_id, secret_version=version + 1, key_hint="", fingerprint=None)
        async with self.database.transaction() as connection:
            assert await api_keys.replace_secrets(connection, row_id, new, expected_version=version)
        self.held[row_id], self.versions[row_id] = values, version + 1
        self.updates += 1

    async def delete(self, row_id: UUID, *, erase: bool) -> None:
        async with self.database.transaction() as connection:
            await api_keys.delete(connection, row_id, erase=erase)
        self.deleted.add(row_id)
        if erase:
            self.held[row_id] = {}


class Rotator:
    """The rotation in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: DatabaseUrl, keys: Sequence[SecretStr]) -> "Rotator":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.rotator",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        order = {"url": str(url), "keys": [key.get_secret_value() for key in keys], "batch": BATCH}
        assert process.stdin
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
        return cls(process)

    async def until(self, done: int) -> None:
        """Come back when it says that it has moved so many rows."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE):
            while json.loads(await self._process.stdout.readline())["done"] < done:
                pass

    async def kill(self) -> None:
        self._process.kill()
        assert await self._process.wait() == -9

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._process.communicate()
        assert self._process.returncode == 0


@asynccontextmanager
async def at_work(customers: Sequence[Customer], keyring: Keyring) -> AsyncIterator[None]:
    """Customers of replicas that have this keyring; each ends the step that it is at."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for customer in customers:
            group.create_task(customer.work(keyring, stopping))
        yield
        stopping.set()


@pytest.mark.timeout(3 * PATIENCE)
async def test_a_rotation_killed_twice_under_load_fails_no_read_and_loses_no_update(
    key_database_url: DatabaseUrl, make_database: Callable[[], Database]
) -> None:
    old, new = new_key(), new_key()
    database = make_database()
    before = await open_keyring(database, [old, new])
    customers = []
    for _ in range(WRITERS):
        client_id = await add_client(database)
        held = await add_rows(database, before, client_id, ROWS // WRITERS)
        customers.append(Customer(database, client_id, held))

    # Replicas still have the old key in front, and go on sealing with it.
    async with at_work(customers, before):
        for _ in range(2):
            rotator = await Rotator.start(key_database_url, [new, old])
            await rotator.until(done=ROWS // 5)
            await rotator.kill()
            assert {id_of(old), id_of(new)} <= await key_ids(database), "it was to be killed half-way"
    # Now they have all been restarted.
    async with at_work(customers, await open_keyring(database, [new, old])):
        rotator = await Rotator.start(key_database_url, [new, old])
        await rotator.end()

    assert await key_ids(database) <= {id_of(new), None}
    alone = await open_keyring(database, [new])
    rows = await read_rows(database)
    for customer in customers:
        assert {row_id: rows[row_id].open(alone) for row_id in customer.held} == customer.held
        assert {row_id: rows[row_id].secret_version for row_id in customer.versions} == customer.versions
        assert customer.reads > 0
        assert customer.updates > 0


async def key_ids(database: Database) -> set[str | None]:
    return {row.key_id for row in (await read_rows(database)).values()}
