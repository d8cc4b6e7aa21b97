"""An audit record for tests: filled with whatever, and sealed at once."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import insert

from keyservice import models
from keyservice.audit_sealing import BATCH, AuditSealer
from keyservice.keyring import Keyring
from servicekit.database.engine import Database
from tests.support.sealed import execute


async def add_events(database: Database, count: int, **columns: Any) -> None:
    """So many events, in one transaction; the columns that are not given say something different in each."""
    rows = [
        {
            "principal": f"principal {secrets.token_hex(4)}",
            "action": secrets.choice(("AddApiKey", "RotateApiKey", "DeleteApiKey")),
            "request_id": secrets.token_hex(8),
            "details": {"revision": secrets.randbelow(1000)},
        }
        | columns
        for _ in range(count)
    ]
    async with database.transaction() as connection:
        await connection.execute(insert(models.AuditEvent), rows)


def sealer(database: Database, keyring: Keyring, *, batch: int = BATCH) -> AuditSealer:
    """One that is told when to seal."""
    return AuditSealer(database, keyring, every=timedelta(days=1), registry=CollectorRegistry(), batch=batch)


async def seal_batches(database: Database, keyring: Keyring, *counts: int) -> None:
    """Events under a seal for each of these numbers."""
    sealing = sealer(database, keyring)
    for count in counts:
        await add_events(database, count)
        assert await sealing.once() == count


async def skip_positions(database: Database) -> None:
    """As a transaction that was rolled back leaves them."""
    await execute(database, "SELECT nextval('audit_positions')")


@asynccontextmanager
async def without_audit_table(database: Database) -> AsyncIterator[None]:
    """For so long no event can be written."""
    await execute(database, "ALTER TABLE audit_events RENAME TO elsewhere")
    yield
    await execute(database, "ALTER TABLE elsewhere RENAME TO audit_events")
