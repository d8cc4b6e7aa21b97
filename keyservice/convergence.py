"""Convergence: ``converge`` makes the bridge match one key, and nothing else decides what the bridge holds.

It is tried at once when a key changes, while the caller waits, and again by a loop until the bridge has acknowledged
the key's revision. Whoever calls it holds the claim of the revision; what comes of it is written only into a row
that still has that revision. No network call is made inside a transaction.
"""

import asyncio
import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

from keyservice import warnings
from keyservice.attempts import Attempts
from keyservice.bridge import Bridge
from keyservice.bridge_records import Connector, Outcome, Permissions
from keyservice.credentials import from_columns
from keyservice.deadlines import time_for_bridge
from keyservice.enums import BridgeReason, BridgeState
from keyservice.keyring import Keyring, KeyUnreadable
from keyservice.records import ApiKey
from keyservice.results import Results
from keyservice.store import clients
from keyservice.store import convergence as store
from keyservice.store.convergence import Result, Seals
from servicekit import logs
from servicekit.credentials import Credentials
from servicekit.database.engine import Connection, Database
from servicekit.errors import KeybridgeError

T = TypeVar("T")
Within: TypeAlias = float | None
"""How many seconds a caller has left; None when there is no end."""

# How long after its time is up whoever holds a claim may take to say what came of it.
_SLACK = timedelta(seconds=5)
# For the outcome of the last attempts, when the service ends.
_GRACE = timedelta(seconds=1)
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=60)
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
    urgent: bool = True
    """Whether somebody waits for it."""


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
        self.inline_wait = inline_wait
        self.bridge_timeout = bridge_timeout
        self.inline_lease = inline_wait + _SLACK
        """For how long a change of a key claims the revision that it draws."""
        self.lease = bridge_timeout + _SLACK
        """For how long the loop claims one."""
        self.due = asyncio.Event()
        """Set when something has become due, for a loop that sleeps."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def at_once(
        self,
        key: ApiKey,
        within: Within,
        *,
        credentials: Credentials | None = None,
        verify: bool = False,
    ) -> Tried:
        """Converge a key whose claim came with its change, while its caller waits; the caller's end is not its end."""
        self._watchers.tell(key.id)
        if not key.waits_for_bridge:
            return Tried(key)
        wait = time_for_bridge(self.inline_wait, within)
        waits = wait > timedelta(0)
        errand = Errand(key, credentials=credentials, verify=verify)
        task = self.start(self._inline(errand, wait if waits else self.inline_wait))
        return Tried(await asyncio.shield(task), wait) if waits else Tried(key)

    async def retry(self, key: ApiKey, within: Within) -> Tried | None:
        """Converge a key now, whatever its state; None while somebody else is at it."""
        async with self._database.autocommit() as connection:
            claimed = await store.claim(connection, key.id, lease=self.inline_lease)
        return await self.at_once(claimed.key, within) if claimed else None

    async def repair(self, key: ApiKey, *, timeout: timedelta) -> ApiKey:  # noqa: ASYNC109 - the bridge is told
        """Take a key that the bridge was seen not to hold to it, unless somebody does already."""
        async with self._database.autocommit() as connection:
            claimed = await store.claim(connection, key.id, lease=timeout + _SLACK, revision=key.revision)
        if claimed is None:
            return key
        errand = Errand(claimed.key, claimed.seals)
        return await asyncio.shield(self.start(self.converge(errand, timeout))) or claimed.key

    async def converge(self, errand: Errand, wait: timedelta) -> ApiKey | None:
        """Make the bridge match a key that is claimed; the key as it then is, None if it has changed meanwhile."""
        outcome = await self._ask(errand, wait)
        if outcome.stale:
            errand, outcome = await self._ask_anew(errand, outcome, wait)
        key = errand.key
        self._attempts.note(key, outcome)
        if outcome.permissions is not None:
            await self.keep_permissions(key, outcome.permissions)
        now = await self._results.write(_result(key, outcome), urgent=errand.urgent)
        self._watchers.tell(key.id)
        return now

    async def keep_permissions(self, key: ApiKey, permissions: Permissions) -> ApiKey | None:
        """Store what an exchange lets these very credentials do."""
        async with self._database.autocommit() as connection:
            return await store.keep_permissions(connection, key, permissions)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Work that goes on when whoever asked for it goes away; the end of the service waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def tell(self, *key_ids: UUID) -> None:
        """Nothing that the bridge should hold has changed, but something that watchers see."""
        self._watchers.tell(*key_ids)

    def leave_to_the_loop(self, key_ids: Iterable[UUID]) -> None:
        """Keys that have just become due: many at once, for which nobody waits."""
        self._watchers.tell(*key_ids)
        self.due.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for what was begun; what takes longer is left to another replica, or to the next start."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=(self.inline_wait + _GRACE).total_seconds())
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

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
            claimed = await store.claim(connection, key.id, lease=wait + _SLACK)
        if claimed is None:
            return errand, refused
        self._attempts.note(key, refused)
        renewed = replace(errand, key=claimed.key, seals=claimed.seals)
        if claimed.key.secret_version != key.secret_version:
            renewed = replace(renewed, credentials=None)
        return renewed, await self._ask(renewed, wait)

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
