"""Convergence: ``converge`` makes the bridge match one key, and nothing else decides what the bridge holds.

It is tried at once when a key changes, while the caller waits, and again by a loop until the bridge has acknowledged
the key's revision. Whoever calls it holds the claim of the revision, with which it is on record that the credentials
go to the bridge; what comes of it is written only into a row that still has that revision. No network call is made
inside a transaction.
"""

import asyncio
import random
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

from keyservice import warnings
from keyservice.attempts import Attempts
from keyservice.bridge import Bridge
from keyservice.bridge_records import Connector, Outcome, Permissions
from keyservice.claims import LEASE, Claims
from keyservice.credentials import from_columns
from keyservice.deadlines import time_for_bridge
from keyservice.enums import BridgeReason, BridgeState
from keyservice.keyring import Keyring, KeyUnreadable
from keyservice.records import ApiKey, Caller
from keyservice.results import Results
from keyservice.store import clients
from keyservice.store import convergence as store
from keyservice.store.convergence import CONVERGENCE, Result, Seals
from servicekit import logs
from servicekit.credentials import Credentials
from servicekit.database.engine import Connection, Database
from servicekit.errors import KeybridgeError
from servicekit.work import Work

T = TypeVar("T")
Within: TypeAlias = float | None
"""How many seconds a caller has left; None when there is no end."""

# For the outcome of an attempt, once its time is up.
_GRACE = timedelta(seconds=1)
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=60)
_ALWAYS_ROOM: AbstractContextManager[None] = nullcontext()
_UNREADABLE = Outcome(BridgeReason.KEY_UNREADABLE, code="NOT_SENT")

_log = logs.get(__name__)


class Watchers(Protocol):
    """Whoever wants to know that keys have changed."""

    def tell(self, *key_ids: UUID) -> None: ...


@dataclass(frozen=True, slots=True)
class Tried:
    """A key after an attempt at the bridge."""

    key: ApiKey
    waited: timedelta | None = None
    """How long the bridge was given, if it was asked."""

    @property
    def warning(self) -> str:
        """Why the bridge does not hold the key; who has waited for it himself hears how long."""
        key = self.key
        late = key.bridge_reason is BridgeReason.BRIDGE_TIMEOUT and key.wanted
        if self.waited is None or not late:
            return key.why_not_configured
        return warnings.not_configured(
            BridgeReason.BRIDGE_TIMEOUT, retry_at=key.next_attempt_at, waited=self.waited
        )


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be taken to the bridge: a key whose claim one has, with what is known of its credentials."""

    key: ApiKey
    seals: Seals | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    """As the caller gave them, so that nothing has to be opened."""
    verify: bool = False
    caller: Caller = CONVERGENCE
    """On whose behalf."""
    urgent: bool = True
    """Whether somebody waits for it."""
    absence: Outcome | None = None
    """Where the bridge was known to be away when the key was claimed, so that nothing of it was released."""


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
        credentials: Credentials | None = None,
        verify: bool = False,
    ) -> Tried:
        """Converge a key whose claim came with its change, while its caller waits; the caller's end is not its end.

        To take back what was refused, or to draw a new revision, is another call: who waits is not kept for both.
        """
        self._watchers.tell(key.id)
        if not key.waits_for_bridge:
            return Tried(key)
        wait = time_for_bridge(self.inline_wait, within)
        waits = wait > timedelta(0)
        errand = Errand(key, credentials=credentials, verify=verify, caller=caller)
        task = self.work.start(self._inline(errand, wait if waits else self.inline_wait))
        if not waits:
            return Tried(key)
        left_to_say = _GRACE if within is None else (timedelta(seconds=within) - wait) / 2
        return Tried(await _result_of(task, wait + left_to_say) or key, wait)

    async def retry(self, caller: Caller, key: ApiKey, within: Within) -> Tried | None:
        """Converge a key now, whatever its state; None while somebody else is at it."""
        async with self._database.autocommit(whose=caller.share) as connection:
            claimed = await store.claim(connection, caller, key.id, lease=LEASE)
        return await self.at_once(caller, claimed.key, within) if claimed else None

    async def repair(
        self,
        caller: Caller,
        key: ApiKey,
        *,
        timeout: timedelta,  # noqa: ASYNC109 - the bridge is told
    ) -> ApiKey:
        """Take a key that the bridge was seen not to hold to it, unless somebody does already."""
        async with self._database.autocommit(whose=caller.share) as connection:
            claimed = await store.claim(connection, caller, key.id, lease=LEASE, revision=key.revision)
        if claimed is None:
            return key
        errand = Errand(claimed.key, claimed.seals, caller=caller)
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
                await self.keep_permissions(key, outcome.permissions)
            now = await self._results.write(_result(key, outcome), urgent=errand.urgent)
            if now is None and key.wanted and outcome.ok:
                await self._doubt_removal(key)
        self._watchers.tell(key.id)
        return now

    async def keep_permissions(self, key: ApiKey, permissions: Permissions) -> ApiKey | None:
        """Store what an exchange lets these very credentials do."""
        async with self._database.autocommit() as connection:
            return await store.keep_permissions(connection, key, permissions)

    @property
    def absence(self) -> Outcome | None:
        """What was heard of the bridge, where it is known to be away."""
        return self._bridge.absence

    def tell(self, *key_ids: UUID) -> None:
        """Nothing that the bridge should hold has changed, but something that watchers see."""
        self._watchers.tell(*key_ids)

    def leave_to_the_loop(self, key_ids: Iterable[UUID]) -> None:
        """Keys that have just become due: many at once, for which nobody waits."""
        self._watchers.tell(*key_ids)
        self.due.set()

    async def __aenter__(self) -> Self:
        self._renewal = asyncio.create_task(self._claims.run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for what was begun; what takes longer is left to another replica, or to the next start."""
        await self.work.end()
        self._renewal.cancel()
        await asyncio.wait({self._renewal})

    async def _inline(self, errand: Errand, wait: timedelta) -> ApiKey:
        """The key was stored: whatever fails from here on, its caller is told so and no more."""
        key = errand.key
        try:
            if key.wanted and errand.credentials is None:
                seals = await store.read_seals(self._database.reads, key)
                if seals is None:  # it was changed by somebody else, who takes it to the bridge
                    return key
                errand = replace(errand, seals=seals)
            return await self.converge(errand, wait) or key
        except KeybridgeError as error:
            _log.warning("the outcome of an attempt was lost", api_key_id=str(key.id), reason=error.reason)
            return key

    async def _ask(self, errand: Errand, wait: timedelta) -> Outcome:
        key = errand.key
        connector = Connector.of(key)
        if not key.wanted:
            return await self._bridge.remove(connector, timeout=wait)
        if errand.absence is not None:
            return errand.absence
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
            claimed = await store.claim(connection, errand.caller, key.id, lease=LEASE)
        if claimed is None:
            return errand, refused
        self._attempts.note(key, refused)
        renewed = replace(errand, key=claimed.key, seals=claimed.seals, absence=None)
        if claimed.key.secret_version != key.secret_version:
            renewed = replace(renewed, credentials=None)
        with self._claims.held(renewed.key):
            return renewed, await self._ask(renewed, wait)

    async def _doubt_removal(self, key: ApiKey) -> None:
        """The key was changed while its push was on the way. If it was removed, that was perhaps from another run of
        the bridge than the one that has taken the push, so that it is to be removed again.
        """
        async with self._database.autocommit() as connection:
            if await store.doubt_removal(connection, key):
                self.due.set()

    async def _renewed(self, key: ApiKey) -> bool:
        async def work(connection: Connection) -> bool:
            # So that nobody adds another key with this connector meanwhile.
            await clients.lock_for_keys(connection, key.client_id)
            return await store.renew(connection, key)

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


def _result(key: ApiKey, outcome: Outcome) -> Result:
    if outcome.ok or (outcome.missing and not key.wanted):
        state = BridgeState.CONFIGURED if key.wanted else BridgeState.REMOVED
        return Result(key, state, instance_id=outcome.instance_id or None)
    if outcome.permanent and key.wanted:
        return Result(key, BridgeState.FAILED, outcome.reason)
    state = BridgeState.PENDING if key.wanted else BridgeState.REMOVING
    return Result(key, state, outcome.reason, again_in=outcome.retry_after or backoff(key.attempt_count))


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many attempts: exponential, capped, with full jitter, so that nobody comes at once."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempts, 16))
    return timedelta(seconds=random.uniform(0, longest.total_seconds()))  # noqa: S311 - spreads load, guards nothing
