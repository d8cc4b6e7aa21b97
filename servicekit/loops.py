"""What runs beside something else and never ends by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Never, TypeAlias

Loop: TypeAlias = Callable[[], Coroutine[Any, Any, Never]]
"""What runs beside a service until it is cancelled."""


@asynccontextmanager
async def background(*loops: Loop) -> AsyncIterator[None]:
    """Run what never ends beside the block, and end it with the block; what fails in it ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop()) for loop in loops]
        yield
        for task in tasks:
            task.cancel()
