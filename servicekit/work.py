"""Work that goes on when whoever asked for it goes away; the end of the service waits for it, within reason."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Work:
    """What is under way. ``patience`` is how long the end waits for it; then it is cancelled."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = patience.total_seconds()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin with it. Whoever waits for the task shields it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.end()

    async def end(self) -> None:
        """Wait for what was begun, and for what that begins itself; cancel what takes longer."""
        try:
            async with asyncio.timeout(self._patience):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            late = set(self._tasks)
            for task in late:
                task.cancel()
            await asyncio.wait(late)
