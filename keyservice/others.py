"""What comes of an attempt that somebody else is making, for who would have made it himself."""

import asyncio
from datetime import timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from keyservice.records import ApiKey, Caller
from keyservice.store import api_keys
from servicekit.database.reads import Reads

LOOK: Final = timedelta(milliseconds=100)
"""How often the database is asked, which has no event of it."""


async def once_answered(reads: Reads, caller: Caller, key_id: UUID, patience: timedelta) -> ApiKey | None:
    """The key as soon as something has come of what is under way, or as it is when the time is up."""
    until = monotonic() + patience.total_seconds()
    while True:
        key = await api_keys.get(reads, key_id, caller)
        if key is None or not key.wanted or not key.unanswered or monotonic() >= until:
            return key
        await asyncio.sleep(LOOK.total_seconds())
