"""An audit record for tests: filled with whatever, and sealed at once."""

import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import insert

from keyservice import models
from keyservice.audit_sealing import AuditSealer
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


def sealer(database: Database, keyring: Keyring) -> AuditSealer:
    """One that is told when to seal."""
    return AuditSealer(database, keyring, every=timedelta(days=1))


async def seal_batches(database: Database, keyring: Keyring, *counts: int) -> None:
    """Events under a seal for each of these numbers."""
    sealing = sealer(database, keyring)
    for count in counts:
        await add_events(database, count)
        assert await sealing.once() == count


async def skip_positions(database: Database) -> None:
    """As a transaction that was rolled back leaves them."""
    await execute(database, "SELECT nextval('audit_positions')")
