"""Health that follows what the service cannot work without: the database, as it is now and not as it was.

One failed probe is no news, two in a row are: an answer may be lost, and a service that says NOT_SERVING is
taken out of rotation. The first probe that succeeds brings it back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from servicekit import logs

Probe = Callable[[], Awaitable[bool]]

_FAILURES = 2
# How soon to look again once a probe has failed, whatever the interval is otherwise.
_SOON = timedelta(seconds=1)

_log = logs.get(__name__)


class Health(Protocol):
    """What can be told whether calls are welcome; the server is."""

    async def set_serving(self) -> None: ...
    async def set_not_serving(self) -> None: ...


@contextlib.asynccontextmanager
async def followed(probe: Probe, health: Health, interval: timedelta) -> AsyncIterator[None]:
    """Probe for as long as the block runs, and tell the health what was found."""
    task = asyncio.create_task(_follow(probe, health, interval))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _follow(probe: Probe, health: Health, interval: timedelta) -> None:
    failures = 0
    while True:
        await asyncio.sleep((min(interval, _SOON) if failures else interval).total_seconds())
        if await _answers(probe):
            if failures >= _FAILURES:
                _log.info("the database answers again; SERVING")
                await health.set_serving()
            failures = 0
            continue
        failures += 1
        if failures == _FAILURES:
            _log.error("the database does not answer; NOT_SERVING")
            await health.set_not_serving()


async def _answers(probe: Probe) -> bool:
    try:
        return await probe()
    except Exception as error:  # noqa: BLE001 - the boundary of this task: without it health would stand still
        _log.error("the probe of the database failed", exc_info=error)
        return False
