"""What came of attempts at the bridge, on its way into the rows: as many in one statement as have come meanwhile."""

import asyncio
from contextlib import suppress
from uuid import UUID

from keyservice.records import ApiKey
from keyservice.store import convergence as store
from keyservice.store.convergence import Result
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError

_MOST = 500
_MOMENT = 0.02


class Results:
    """Writes at once what comes alone. While it writes, others gather, and go together in the next statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Result, asyncio.Future[ApiKey | None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    async def write(self, result: Result, *, urgent: bool) -> ApiKey | None:
        """The key as it is now; None if it has changed since it was claimed, so that the result says nothing.

        What is not urgent waits a moment for more of its kind.
        """
        written: asyncio.Future[ApiKey | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, written))
        if urgent:
            self._hurry.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return await written

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_MOMENT):
                        await self._hurry.wait()
                self._hurry.clear()
                batch = self._waiting[:_MOST]
                await self._write(batch)
                del self._waiting[: len(batch)]
        finally:
            self._writer = None
            # None is left, unless something happened that nobody foresaw: then nobody is to wait for ever.
            for _, written in self._waiting:
                written.cancel()
            self._waiting.clear()

    async def _write(self, batch: list[tuple[Result, asyncio.Future[ApiKey | None]]]) -> None:
        now: dict[UUID, ApiKey] = {}
        failure: KeybridgeError | None = None
        try:
            async with self._database.autocommit() as connection:
                now |= await store.write(connection, [result for result, _ in batch])
                if len(batch) > 1:
                    for result, _ in batch:
                        # Somebody held it just then, or it has changed: alone it can be waited for.
                        if result.key.id not in now:
                            now |= await store.write(connection, [result])
        except KeybridgeError as error:
            failure = error
        for result, written in batch:
            if written.done():  # whoever waited for it was cancelled
                continue
            key = now.get(result.key.id)
            if key is None and failure is not None:
                written.set_exception(failure)
            else:
                written.set_result(key)
