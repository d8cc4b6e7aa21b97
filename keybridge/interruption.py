"""How a command of ours ends early: it is told so once, and unwinds; told twice, it ends at once."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from servicekit import process

Undo = list[Callable[[], None]]
"""What must not be left behind even by a process that ends at once; the last is called first."""

Command = Callable[[Undo], Coroutine[Any, Any, int | None]]


async def until_stopped(command: Command) -> int:
    """Run a command to its end, or until a signal cancels it; return the exit status."""
    undo: Undo = []

    def at_once() -> None:
        while undo:
            undo.pop()()

    with process.stop_signal(at_once) as stop:
        running = asyncio.ensure_future(command(undo))
        stopping = asyncio.ensure_future(stop.wait())
        tasks: set[asyncio.Future[Any]] = {running, stopping}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
        stopping.cancel()
        return 128 + signal.SIGINT if running.cancelled() else running.result() or 0
