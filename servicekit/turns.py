"""What is looked for again and again: at every turn of a clock, and sooner when somebody knows of something."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Never

from servicekit.errors import KeybridgeError


async def take_turns(
    once: Callable[[], Awaitable[object]],
    *,
    wake: asyncio.Event,
    pause: timedelta,
    failed: Callable[[KeybridgeError], None],
    gather: timedelta = timedelta(0),
) -> Never:
    """Until cancelled. A turn that fails, as when the database is away, is told to ``failed``, and the next comes.

    Whoever wakes it is heard after the time to ``gather``: what becomes known one after the other shares a turn.
    """
    while True:
        wake.clear()
        try:
            await once()
        except KeybridgeError as error:
            failed(error)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause.total_seconds()):
                await wake.wait()
        if wake.is_set():
            await asyncio.sleep(gather.total_seconds())
