"""The end of the service, for streams that would go on for ever: they end themselves, for callers to call elsewhere."""

import asyncio

from servicekit.errors import Unavailable


class Ending:
    """Waits for things, and never beyond the end of the service."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    def begins_with(self, event: asyncio.Event) -> None:
        """When this is set, the service ends."""
        self._begun = event

    async def wait(self, event: asyncio.Event, seconds: float | None = None) -> bool:
        """Wait for an event, at most so long; says whether it is set."""
        waits = [asyncio.create_task(each.wait()) for each in (event, self._begun)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._begun.is_set():
            raise Unavailable("This replica stops; call again.", reason="SHUTTING_DOWN")
        return event.is_set()

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)
