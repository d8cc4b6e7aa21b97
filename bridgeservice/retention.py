"""What is remembered, and for how long: a few rows at a time, so that nobody waits for it.

Snapshots that are old enough are deleted. Orders and trades are hidden, and shown again when they are to be kept for
longer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Never

from bridgeservice.store import retention, snapshots
from servicekit import logs
from servicekit.database.engine import Connection, Database
from servicekit.errors import KeybridgeError

_EVERY: Final = timedelta(hours=1)
_BATCH: Final = 1000

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Spans:
    """For how long something is shown or kept."""

    orders: timedelta | None
    """Orders and trades; None for ever."""
    snapshots: timedelta


class Retention:
    """A loop; any number of replicas may run it."""

    def __init__(self, database: Database, spans: Spans) -> None:
        self._database = database
        self._spans = spans

    async def run(self) -> Never:
        """Until cancelled. What fails is done at the next turn."""
        while True:
            try:
                await self.once(datetime.now(UTC))
            except KeybridgeError as error:
                _log.warning("what is old could not be put away, and is later", reason=error.reason)
            await asyncio.sleep(_EVERY.total_seconds())

    async def once(self, now: datetime) -> None:
        """Put away what is due, and bring back what is not any more."""
        until = now - self._spans.snapshots
        await self._all(lambda connection: snapshots.forget(connection, until, _BATCH))
        since = datetime.min.replace(tzinfo=UTC)
        if self._spans.orders is not None:
            since = now - self._spans.orders
            await self._all(lambda connection: retention.hide(connection, since, _BATCH))
        await self._all(lambda connection: retention.show(connection, since, _BATCH))

    async def _all(self, some: Callable[[Connection], Awaitable[int]]) -> None:
        """Batch by batch, each in a transaction of its own, until nothing is left."""
        while True:
            async with self._database.transaction() as connection:
                if not await some(connection):
                    return
