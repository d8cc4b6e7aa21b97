"""WatchApiKeys: keys as they are, and again whenever they change, whichever replica changed them.

What changed is told by NOTIFY, outside of transactions: ids only, gathered for a moment. Every replica that has
watchers listens, and reads what its watchers may see. Where the connection was lost, each of them starts afresh.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Never
from uuid import UUID

from keyservice.records import ApiKey, Caller
from keyservice.store import api_key_lists, notices
from keyservice.store.api_key_lists import Filter
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.database.notifications import listening
from servicekit.database.options import DatabaseOptions
from servicekit.errors import KeybridgeError, ResourceExhausted, Unavailable
from servicekit.paging import Position

CHANNEL: Final = "keybridge_api_keys"
MOST_UNREAD: Final = 10_000
"""So many changed keys may wait for a watcher to take them; one more, and he is cut."""

_GATHER = timedelta(milliseconds=50)
_PAUSE = timedelta(seconds=1)
_PAGE = 1000
# A key that was deleted while nobody listened is told of too, so far back.
_LOOK_BACK = timedelta(minutes=1)

_log = logs.get(__name__)


class Watcher:
    """One who watches: which keys he has to be told of."""

    def __init__(self) -> None:
        self.changed: set[UUID] = set()
        self.afresh_since: datetime | None = None
        """Since when he may have missed something; he then begins with everything."""
        self.news = asyncio.Event()
        self.cut = False
        self._task = asyncio.current_task()

    def tell(self, key_ids: Iterable[UUID]) -> None:
        self.changed.update(key_ids)
        self.news.set()
        if len(self.changed) > MOST_UNREAD and not self.cut:
            self.cut = True
            if self._task is not None:
                self._task.cancel()

    def too_slow(self) -> ResourceExhausted:
        """Why he is cut; his call goes on to say so, instead of ending as cancelled."""
        if self._task is not None:
            self._task.uncancel()
        return ResourceExhausted(
            "This watcher is too slow for what changes; call again for the present state.",
            reason="WATCHER_TOO_SLOW",
        )


class Watching:
    """Tells watchers, here and in other replicas, which keys have changed."""

    def __init__(self, database: Database, options: DatabaseOptions | None = None) -> None:
        self._database = database
        self._options = options or database.options
        self._watchers: set[Watcher] = set()
        self._somebody = asyncio.Event()
        self._heard = asyncio.Event()
        self._changed: set[UUID] = set()
        self._something = asyncio.Event()
        self._ending = asyncio.Event()

    def tell(self, *key_ids: UUID) -> None:
        """These have changed."""
        self._changed.update(key_ids)
        self._something.set()

    def ends_with(self, ending: asyncio.Event) -> None:
        """Streams end, for their callers to call again elsewhere, when this is set."""
        self._ending = ending

    async def watch(self, caller: Caller, client_id: UUID | None) -> AsyncGenerator[ApiKey, None]:
        """Each live key as it is, then each that changes: also one that is deleted."""
        watcher = Watcher()
        self._watchers.add(watcher)
        self._somebody.set()
        try:
            # Who looked before he hears would miss what happens in between.
            await self._until(self._heard)
            async for key in self._all(caller, client_id, datetime.now(UTC)):
                yield key
            while True:
                await self._until(watcher.news)
                async for key in self._news(watcher, caller, client_id):
                    yield key
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._somebody.clear()
            if watcher.cut:
                raise watcher.too_slow()

    async def tell_others(self) -> Never:
        """Pass on what has changed. A database that is away is tried again; nothing is lost meanwhile."""
        while True:
            await self._something.wait()
            await asyncio.sleep(_GATHER.total_seconds())
            self._something.clear()
            changed, self._changed = self._changed, set()
            try:
                async with self._database.autocommit() as connection:
                    await notices.send(connection, CHANNEL, changed)
            except KeybridgeError as error:
                self.tell(*changed)
                _log.warning("watchers can't be told, and are later", reason=error.reason)
                await asyncio.sleep(_PAUSE.total_seconds())

    async def listen(self) -> Never:
        """Hear what has changed, while there is somebody to tell."""
        lost_at: datetime | None = None
        while True:
            await self._somebody.wait()
            try:
                async with listening(self._options, CHANNEL, self._hear) as ended:
                    self._begin(lost_at)
                    await self._while_wanted(ended)
            except KeybridgeError as error:
                _log.warning("changes can't be heard", reason=error.reason)
                await asyncio.sleep(_PAUSE.total_seconds())
            lost_at = datetime.now(UTC) - _LOOK_BACK
            self._heard.clear()

    def _begin(self, lost_at: datetime | None) -> None:
        """From now on nothing is missed; those who were here before may have."""
        if lost_at is not None:
            for watcher in self._watchers:
                watcher.afresh_since = lost_at
                watcher.news.set()
        self._heard.set()

    async def _while_wanted(self, ended: asyncio.Event) -> None:
        while self._watchers and not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE.total_seconds()):
                    await ended.wait()

    def _hear(self, said: str) -> None:
        changed = notices.read(said)
        for watcher in self._watchers:
            watcher.tell(changed)

    async def _until(self, event: asyncio.Event) -> None:
        """Wait for it, or for the end of the service."""
        waits = [asyncio.create_task(each.wait()) for each in (event, self._ending)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._ending.is_set():
            raise Unavailable("This replica stops; call again.", reason="SHUTTING_DOWN")

    async def _news(
        self, watcher: Watcher, caller: Caller, client_id: UUID | None
    ) -> AsyncGenerator[ApiKey, None]:
        watcher.news.clear()
        changed, watcher.changed = list(watcher.changed), set()
        since, watcher.afresh_since = watcher.afresh_since, None
        if since is not None:
            async for key in self._all(caller, client_id, since):
                yield key
        for start in range(0, len(changed), _PAGE):
            for key in await self._read(caller, client_id, changed[start : start + _PAGE]):
                yield key

    async def _read(self, caller: Caller, client_id: UUID | None, ids: Sequence[UUID]) -> list[ApiKey]:
        return await notices.changed(self._database.reads, caller, client_id, ids)

    async def _all(
        self, caller: Caller, client_id: UUID | None, since: datetime
    ) -> AsyncGenerator[ApiKey, None]:
        """The live keys, and those that were deleted since then."""
        after: Position | None = None
        while True:
            page = await api_key_lists.page(
                self._database.reads,
                caller,
                Filter(client_id=client_id, show_deleted=True),
                after=after,
                size=_PAGE,
            )
            for key in page.rows:
                if key.deleted_at is None or key.deleted_at >= since:
                    yield key
            after = page.next
            if after is None:
                return
