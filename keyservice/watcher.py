"""One who watches keys: what he has to be told of, and whether he takes it.

However many keys change, what waits for him stays small: beyond a bound he begins with everything again, as when he
came. One who takes nothing for a while, although there is something, is cut.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from servicekit.errors import ResourceExhausted

MOST_UNREAD: Final = 10_000
LOOK_BACK: Final = timedelta(minutes=1)
"""A key that was deleted while he could not be told of it is told of too, so far back."""


class Watcher:
    """Made in the task that serves him, which is ended when he is cut."""

    def __init__(self, patience: timedelta) -> None:
        self.news = asyncio.Event()
        self._patience = patience.total_seconds()
        self._changed: set[UUID] = set()
        self._afresh_since: datetime | None = None
        self._offered_at: float | None = None
        """Since when something is offered to him that he has not taken; None while there is nothing."""
        self._cut = False
        self._task = asyncio.current_task()

    def tell(self, key_ids: Sequence[UUID]) -> None:
        """These have changed; who does not take what he was offered before is told no more."""
        self._changed.update(key_ids)
        if len(self._changed) > MOST_UNREAD:
            self._changed.clear()
            self.start_afresh(datetime.now(UTC) - LOOK_BACK)
        self.news.set()
        stuck = self._offered_at is not None and monotonic() - self._offered_at > self._patience
        if stuck and not self._cut and self._task is not None:
            self._cut = True
            self._task.cancel()

    def start_afresh(self, since: datetime) -> None:
        """He may have missed something since then, and begins with everything."""
        self._afresh_since = min(since, self._afresh_since or since)
        self.news.set()

    def take(self) -> tuple[list[UUID], datetime | None]:
        """What has changed, and since when all the rest may have, if so."""
        self.news.clear()
        changed, self._changed = list(self._changed), set()
        since, self._afresh_since = self._afresh_since, None
        return changed, since

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Something is offered to him, until he takes it."""
        self._offered_at = monotonic()
        try:
            yield
        finally:
            self._offered_at = None

    def say_if_cut(self) -> None:
        """When he was cut, his call goes on to say why, instead of ending as cancelled."""
        if not self._cut:
            return
        if self._task is not None:
            self._task.uncancel()
        raise ResourceExhausted(
            "This watcher is too slow for what changes; call again for the present state.",
            reason="WATCHER_TOO_SLOW",
        )
