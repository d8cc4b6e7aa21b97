"""WatchApiKeys: keys as they are, and again whenever they change, whichever replica changed them.

What changed is told by NOTIFY, outside of transactions: ids only, gathered for a moment. Every replica that has
watchers listens, and reads what its watchers may see. Where the connection was lost, each of them starts afresh.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, Never, Self
from uuid import UUID

from keyservice.ending import Ending
from keyservice.records import ApiKey, Caller
from keyservice.store import api_key_lists, notices
from keyservice.store.api_key_lists import Filter
from keyservice.watcher import LOOK_BACK, Watcher
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.database.notifications import Listening, listening
from servicekit.database.options import DatabaseOptions
from servicekit.errors import KeybridgeError, Unavailable
from servicekit.paging import Position

CHANNEL: Final = "keybridge_api_keys"
PATIENCE: Final = timedelta(seconds=10)

_GATHER = timedelta(milliseconds=50)
_PAUSE = timedelta(seconds=1)
_PAGE = 1000

_log = logs.get(__name__)


class Watching:
    """Tells watchers, here and in other replicas, which keys have changed."""

    def __init__(
        self,
        database: Database,
        ending: Ending,
        options: DatabaseOptions | None = None,
        *,
        patience: timedelta = PATIENCE,
    ) -> None:
        """``patience`` is for a watcher that takes nothing, and for a database of which nothing is heard."""
        self._database = database
        self._ending = ending
        self._options = options or database.options
        self._patience = patience
        self._watchers: set[Watcher] = set()
        self._somebody = asyncio.Event()
        self._heard = asyncio.Event()
        self._changed: set[UUID] = set()
        self._something = asyncio.Event()

    def tell(self, *key_ids: UUID) -> None:
        """These have changed."""
        self._changed.update(key_ids)
        self._something.set()

    async def watch(self, caller: Caller, client_id: UUID | None) -> AsyncGenerator[ApiKey, None]:
        """Each live key as it is, then each that changes: also one that is deleted."""
        watcher = Watcher(self._patience)
        self._watchers.add(watcher)
        self._somebody.set()
        try:
            # Who looked before he hears would miss what happens in between.
            if not await self._ending.wait(self._heard, self._patience.total_seconds()):
                raise Unavailable(
                    "Changes can't be heard at present; call again later.", reason="CHANGES_NOT_HEARD"
                )
            async with aclosing(self._keys(watcher, caller, client_id)) as keys:
                async for key in keys:
                    with watcher.offered():
                        yield key
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._somebody.clear()
            watcher.say_if_cut()

    async def tell_others(self) -> Never:
        """Pass on what has changed. A database that is away is tried again; nothing is lost meanwhile."""
        while True:
            await self._something.wait()
            await asyncio.sleep(_GATHER.total_seconds())
            if not await self._pass_on():
                await asyncio.sleep(_PAUSE.total_seconds())

    async def listen(self) -> Never:
        """Hear what has changed, while there is somebody to tell."""
        lost_at: datetime | None = None
        while True:
            await self._somebody.wait()
            try:
                async with listening(self._options, CHANNEL, self._hear) as connection:
                    self._begin(lost_at)
                    lost_at = None
                    await self._while_wanted(connection)
            except KeybridgeError as error:
                _log.warning("changes can't be heard", reason=error.reason)
                await asyncio.sleep(_PAUSE.total_seconds())
            # The first loss counts, however often it is tried in vain to hear again; who comes from now on has to wait.
            lost_at = (lost_at or datetime.now(UTC) - LOOK_BACK - self._patience) if self._watchers else None
            self._heard.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """What the last calls have changed is still passed on: nobody else knows of it."""
        if self._changed:
            await self._pass_on()

    async def _pass_on(self) -> bool:
        """Say what has changed; whether that could be done."""
        self._something.clear()
        changed, self._changed = self._changed, set()
        told = False
        try:
            async with self._database.autocommit() as connection:
                await notices.send(connection, CHANNEL, changed)
            told = True
        except KeybridgeError as error:
            _log.warning("watchers can't be told, and are later", reason=error.reason)
        finally:
            if not told:  # or it was cancelled, at the end of the service
                self.tell(*changed)
        return told

    def _begin(self, lost_at: datetime | None) -> None:
        """From now on nothing is missed; those who were here before may have."""
        if lost_at is not None:
            for watcher in self._watchers:
                watcher.start_afresh(lost_at)
        self._heard.set()

    async def _while_wanted(self, connection: Listening) -> None:
        """Also an idle connection is asked for a sign of life now and then."""
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        while self._watchers and not await _is_set(connection.ended, _PAUSE):
            if loop.time() - checked_at >= self._patience.total_seconds():
                await connection.check(self._patience)
                checked_at = loop.time()

    def _hear(self, said: str) -> None:
        changed = notices.read(said)
        for watcher in self._watchers:
            watcher.tell(changed)

    async def _keys(
        self, watcher: Watcher, caller: Caller, client_id: UUID | None
    ) -> AsyncGenerator[ApiKey, None]:
        async for key in self._all(caller, client_id, datetime.now(UTC)):
            yield key
        while True:
            await self._ending.wait(watcher.news)
            async for key in self._news(watcher, caller, client_id):
                yield key

    async def _news(
        self, watcher: Watcher, caller: Caller, client_id: UUID | None
    ) -> AsyncGenerator[ApiKey, None]:
        changed, since = watcher.take()
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


async def _is_set(event: asyncio.Event, within: timedelta) -> bool:
    """Whether an event is set, or becomes so in time."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            await event.wait()
    except TimeoutError:
        return False
    return True
