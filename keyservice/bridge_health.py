"""How the bridge is, said in a moment whatever the bridge does: who waits for an answer is never the caller."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from keyservice import warnings
from keyservice.bridge import Bridge
from keyservice.bridge_records import BridgeInfo, Outcome
from keyservice.enums import BridgeReason
from keyservice.records import Caller
from keyservice.store import api_key_lists
from servicekit.database.engine import Database

_MOMENT: Final = 0.05
"""How many seconds an answer may take to be in time for the caller."""
_FRESH: Final = 5.0
"""For how many seconds an answer of a bridge that is too far away for that counts."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the bridge is, and how far it has been made to match."""

    reachable: bool
    info: BridgeInfo | None
    """Its last answer, whenever that was."""
    configured_keys: int
    pending_keys: int
    failed_keys: int
    warning: str


class BridgeHealth:
    """Asks the bridge who it is, once for all who want to know."""

    def __init__(self, database: Database, bridge: Bridge, *, wait: timedelta) -> None:
        self._database = database
        self._bridge = bridge
        self._wait = wait
        self._question: asyncio.Task[BridgeInfo | Outcome] | None = None

    async def look(self, caller: Caller) -> Health:
        reason, counts = await asyncio.gather(
            self._why_not_reachable(), api_key_lists.count(self._database.reads, caller)
        )
        sentences = [warnings.bridge_not_reachable(reason)] if reason else []
        sentences += [warnings.keys_failed(counts.failed)] if counts.failed else []
        return Health(
            reachable=reason is None,
            info=self._bridge.last_info[1] if self._bridge.last_info else None,
            configured_keys=counts.configured,
            pending_keys=counts.waiting,
            failed_keys=counts.failed,
            warning=" ".join(sentences),
        )

    async def _why_not_reachable(self) -> BridgeReason | None:
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._bridge.info(timeout=self._wait))
        question = self._question
        # The question goes on without the caller, and is the next one's too while it is under way.
        await asyncio.wait({question}, timeout=_MOMENT)
        if not question.done():
            return None if self._is_far_away() else BridgeReason.BRIDGE_TIMEOUT
        answer = question.result()
        return answer.reason if isinstance(answer, Outcome) else None

    def _is_far_away(self) -> bool:
        """Whether no answer could be here yet, and the last one is not long ago."""
        if self._bridge.last_info is None:
            return False
        at, info = self._bridge.last_info
        return info.latency.total_seconds() > _MOMENT and monotonic() - at < _FRESH
