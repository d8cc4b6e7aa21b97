"""What comes of an attempt that somebody else is making, for who would have made it himself."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from keyservice.records import ApiKey, Caller
from keyservice.store import api_key_lists
from servicekit.database.reads import Reads

LOOK: Final = timedelta(milliseconds=100)
"""How often the database is asked, which has no event of it."""
# Most attempts are over within milliseconds.
_FIRST_LOOK: Final = timedelta(milliseconds=10)


async def once_answered(
    reads: Reads, caller: Caller, key_ids: Sequence[UUID], patience: timedelta
) -> dict[UUID, ApiKey]:
    """The keys as soon as something has come of what is under way, or as they are when the time is up."""
    until = monotonic() + patience.total_seconds()
    pause = _FIRST_LOOK
    while True:
        keys = await api_key_lists.named(reads, caller, key_ids)
        if monotonic() >= until or not any(key.wanted and key.unanswered for key in keys):
            return {key.id: key for key in keys}
        await asyncio.sleep(pause.total_seconds())
        pause = min(2 * pause, LOOK)
