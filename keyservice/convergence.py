"""Convergence: ``converge`` makes the bridge match one key, and nothing else decides what the bridge holds.

It is tried at once when a key changes, while the caller waits, and again by a loop until the bridge has acknowledged
the key's revision. Whoever calls it holds the claim of the revision, with which it is on record that the credentials
go to the bridge; what comes of it is written only into a row that still has that revision. No network call is made
inside a transaction.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Never, Protocol, Self, TypeVar
from uuid import UUID

from keyservice.attempts import Attempts
from keyservice.bridge import Bridge
from keyservice.bridge_records import Connector, Outcome, Permissions
from keyservice.claims import LEASE, Claims
from keyservice.credentials import from_columns
from keyservice.deadlines import time_for_bridge
from keyservice.doubted_removals import doubt_removal
from keyservice.enums import BridgeReason
from keyservice.errands import Errand, Tried, Within
from keyservice.keyring import Keyring, KeyUnreadable
from keyservice.records import ApiKey, Caller, account_name_of, client_of
from keyservice.results import Results, result_of
from keyservice.store import clients, revisions
from keyservice.store import convergence as store
from keyservice.store.seals import Seals
from servicekit import logs
from servicekit.credentials import Credentials
from servicekit.database.engine import Connection, Database
from servicekit.errors import KeybridgeError
from servicekit.work import Work

T = TypeVar("T")

# For the outcome of an attempt, once its time is up.
_GRACE = timedelta(seconds=1)
_ALWAYS_ROOM: AbstractContextManager[None] = nullcontext()
_UNREADABLE = Outcome(BridgeReason.KEY_UNREADABLE, code="NOT_SENT", asked=False)

_log = logs.get(__name__)


class Watchers(Protocol):
    """Whoever wants to know that keys have changed."""

    def tell(self, *key_ids: UUID) -> None: ...


class Convergence:
    """Takes keys to the bridge, and away from it."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        bridge: Bridge,
        watchers: Watchers,
        attempts: Attempts,
        *,
        inline_wait: timedelta,
        bridge_timeout: timedelta,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._bridge = bridge
        self._watchers = watchers
        self._attempts = attempts
        self._results = Results(database)
        self._claims = Claims(database)
        self.inline_wait = inline_wait
        self.bridge_timeout = bridge_timeout
        self.due = asyncio.Event()
        """Set when something has become due, for a loop that sleeps."""
        self.work = Work(inline_wait + _GRACE)
        """What goes on when whoever asked for it goes away."""

    async def at_once(
        self,
        caller: Caller,
        key: ApiKey,
        within: Within,
        *,
        seals: Seals | None = None,
        credentials: Credentials | None = None,
        verify: bool = False,
        absence: Outcome | None = None,
    ) -> Tried:
        """Converge a key whose claim came with its change, while its caller waits; the caller's end is not its end.

        To take back what was refused, or to draw a new revision, is another call: who waits is not kept for both.
        """
        self._watchers.tell(key.id)
        if not key.waits_for_bridge:
            return Tried(key)
        wait = time_for_bridge(self.inline_wait, within)
        waits = wait > timedelta(0)
        errand = Errand(key, seals, credentials, verify=verify, caller=caller, absence=absence)
        task = self.work.start(self._inline(errand, wait if waits else self.inline_wait))
        if not waits:
            return Tried(key)
        left_to_say = _GRACE if within is None else (timedelta(seconds=within) - wait) / 2
        return Tried(await _result_of(task, wait + left_to_say) or key, wait)

    async def retry(self, caller: Caller, key: ApiKey, within: Within) -> Tried | None:
        """Converge a key now, whatever its state; None while somebody else is at it."""
        absence = self.absence_for(key.client_id)
        async with self._database.autocommit(whose=caller.share) as connection:
            claimed = await store.claim(connection, caller, key.id, lease=LEASE, releases=absence is None)
        if claimed is None:
            return None
        return await self.at_once(caller, claimed.key, within, seals=claimed.seals, absence=absence)

    async def repair(
        self,
        caller: Caller,
        key: ApiKey,
        *,
        timeout: timedelta,  # noqa: ASYNC109 - the bridge is told
    ) -> ApiKey | None:
        """Take a key that the bridge was seen not to hold to it; None while somebody else is at it."""
        absence = self.absence_for(key.client_id)
        async with self._database.autocommit(whose=caller.share) as connection:
            claimed = await store.claim(
                connection, caller, key.id, lease=LEASE, releases=absence is None, revision=key.revision
            )
        if claimed is None:
            return None
        errand = Errand(claimed.key, claimed.seals, caller=caller, absence=absence)
        return await _result_of(self.work.start(self.converge(errand, timeout)), timeout) or claimed.key

    async def converge(
        self, errand: Errand, wait: timedelta, room: AbstractContextManager[None] = _ALWAYS_ROOM
    ) -> ApiKey | None:
        """Make the bridge match a key that is claimed; the key as it then is, None if it has changed meanwhile.

        The ``room`` is left when the bridge has answered.
        """
        with self._claims.held(errand.key):
            with room:
                outcome = await self._ask(errand, wait)
                if outcome.stale:
                    errand, outcome = await self._ask_anew(errand, outcome, wait)
            key = errand.key
            self._attempts.note(key, outcome)
            if outcome.permissions is not None:
                await self._note_permissions(key, outcome.permissions)
            return await self._store(errand, outcome)

    async def keep_permissions(self, key: ApiKey, permissions: Permissions) -> ApiKey | None:
        """Store what an exchange lets these very credentials do."""
        async with self._database.autocommit() as connection:
            return await store.keep_permissions(connection, key, permissions)

    @property
    def absence(self) -> Outcome | None:
        """What was heard of the bridge, where it is known to be away."""
        return self._bridge.absence

    @property
    def away_for_some(self) -> bool:
        """Whether it is known to be away for some accounts at least."""
        return self._bridge.away_for_some

    @property
    def away_for(self) -> list[UUID]:
        """The clients for whose accounts nothing can be sent just now."""
        return [client_of(account_name) for account_name in self._bridge.shut()]

    def is_away_for(self, client_id: UUID) -> bool:
        """Whether it is known to be away for one client's account. Who asks need not send anything."""
        return self._bridge.is_away(account_name_of(client_id))

    def absence_for(self, client_id: UUID) -> Outcome | None:
        """The same for one client's account, asked with the claim of a key: None means that it is then to be sent."""
        return self._bridge.refusal(account_name_of(client_id))

    def tell(self, *key_ids: UUID) -> None:
        """Nothing that the bridge should hold has changed, but something that watchers see."""
        self._watchers.tell(*key_ids)

    def leave_to_the_loop(self, key_ids: Iterable[UUID]) -> None:
        """Keys that have just become due: many at once, for which nobody waits."""
        self._watchers.tell(*key_ids)
        self.due.set()

    async def renew_claims(self) -> Never:
        """Until cancelled, which is to be after the end of what was begun."""
        await self._claims.run()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for what was begun; what takes longer is left to another replica, or to the next start."""
        await self.work.end()

    async def _inline(self, errand: Errand, wait: timedelta) -> ApiKey:
        """The key was stored: whatever fails from here on, its caller is told so and no more."""
        key = errand.key
        try:
            return await self.converge(errand, wait) or key
        except KeybridgeError as error:
            _log.warning("the outcome of an attempt was lost", api_key_id=str(key.id), reason=error.reason)
            return key

    async def _ask(self, errand: Errand, wait: timedelta) -> Outcome:
        key = errand.key
        connector = Connector.of(key)
        if errand.absence is not None:
            return errand.absence
        if not key.wanted:
            return await self._bridge.remove(connector, timeout=wait)
        try:
            credentials = errand.credentials or self._opened(key, errand.seals)
        except KeyUnreadable:
            return _UNREADABLE
        outcome = await self._bridge.push(connector, credentials, verify=errand.verify, timeout=wait)
        if outcome.permanent and key.secret_version > 1:
            # What was refused takes the place of something, which the bridge would otherwise go on using.
            before = replace(connector, revision=connector.revision - 1)
            await self._bridge.remove(before, timeout=wait)
        return outcome

    async def _ask_anew(self, errand: Errand, refused: Outcome, wait: timedelta) -> tuple[Errand, Outcome]:
        """The bridge knows a higher revision of a row that is current: draw a new one, and try once more now."""
        key = errand.key
        if not await self._renewed(key):
            # Another key has its connector by now, so it is gone; or it has changed, and this says nothing of it.
            return errand, refused if key.wanted else Outcome()
        async with self._database.autocommit() as connection:
            claimed = await store.claim(connection, errand.caller, key.id, lease=LEASE, releases=True)
        if claimed is None:
            return errand, refused
        self._attempts.note(key, refused)
        renewed = replace(errand, key=claimed.key, seals=claimed.seals, absence=None)
        if claimed.key.secret_version != key.secret_version:
            renewed = replace(renewed, credentials=None)
        with self._claims.held(renewed.key):
            return renewed, await self._ask(renewed, wait)

    async def _note_permissions(self, key: ApiKey, permissions: Permissions) -> None:
        """They can be asked for again, so that they fail alone."""
        try:
            await self.keep_permissions(key, permissions)
        except KeybridgeError as error:
            _log.warning("what an exchange allows can't be kept", api_key_id=str(key.id), reason=error.reason)

    async def _store(self, errand: Errand, outcome: Outcome) -> ApiKey | None:
        """Write what came of it. Where that fails nobody knows whether it is written, or the key has changed."""
        key = errand.key
        now: ApiKey | None = None
        lost: KeybridgeError | None = None
        try:
            now = await self._results.write(result_of(key, outcome), urgent=errand.urgent)
        except KeybridgeError as error:
            lost = error
        self._watchers.tell(key.id)
        if now is None and key.wanted and outcome.perhaps_done:
            self.work.start(doubt_removal(self._database, key, self.due))
        if lost is not None:
            raise lost
        return now

    async def _renewed(self, key: ApiKey) -> bool:
        async def work(connection: Connection) -> bool:
            # So that nobody adds another key with this connector meanwhile.
            await clients.lock_for_keys(connection, key.client_id)
            return await revisions.renew(connection, key)

        return await self._database.run(work)

    def _opened(self, key: ApiKey, seals: Seals | None) -> Credentials:
        if seals is None:
            raise KeyUnreadable("It was not read.")
        opened = self._keyring.open(
            seals.by_column,
            key_id=seals.key_id,
            client_id=key.client_id,
            row_id=key.id,
            secret_version=key.secret_version,
        )
        return from_columns(opened)


async def _result_of(task: "asyncio.Task[T]", patience: timedelta) -> T | None:
    """What a task comes to, if it does so in time; it goes on without whoever waits for it."""
    done, _ = await asyncio.wait({task}, timeout=patience.total_seconds())
    return task.result() if done else None
