"""Balances of a client: read through the bridge, all keys at once, and never a zero in place of what is not known.

A key that the bridge was seen not to hold is repaired on the spot and read once more. Whatever keeps a key from
being read is told with that key, and is no error of the call.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, Protocol
from uuid import UUID

from keyservice import warnings
from keyservice.bridge import Bridge
from keyservice.bridge_records import Balance, Holding, Outcome
from keyservice.deadlines import time_for_bridge
from keyservice.enums import BridgeReason, BridgeState, ReadStatus
from keyservice.others import once_answered
from keyservice.records import ApiKey, Caller, account_name_of
from keyservice.store import api_key_lists, clients
from keyservice.totals import FundsKind, Total, totals
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError, NotFound

# As many as the bridge takes in one question.
_MOST_NAMED: Final = 1000
_REPAIRED_AT_ONCE: Final = 16
_EMPTY: Final = timedelta(0)

_log = logs.get(__name__)


class Converge(Protocol):
    """Takes a key to the bridge: also one that counts as configured, because the bridge was seen not to hold it."""

    async def __call__(self, caller: Caller, key: ApiKey, *, timeout: timedelta) -> ApiKey | None:
        """The key as it is known to be after the bridge was given this long; None while somebody else is at it."""
        ...


@dataclass(frozen=True, slots=True)
class KeyBalances:
    """What the account behind one key holds. Anything but OK means that the balances say nothing."""

    key: ApiKey
    configured: bool
    status: ReadStatus
    warning: str = ""
    balances: tuple[Balance, ...] = ()
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClientBalances:
    """What a client holds, as far as it is known."""

    keys: list[KeyBalances]

    @property
    def complete(self) -> bool:
        return all(each.status is ReadStatus.OK for each in self.keys)

    @property
    def totals(self) -> list[Total]:
        return totals(
            (FundsKind.of(each.key), balance)
            for each in self.keys
            if each.status is ReadStatus.OK
            for balance in each.balances
        )


class Balances:
    """Reads what clients hold."""

    def __init__(self, database: Database, bridge: Bridge, converge: Converge, *, wait: timedelta) -> None:
        self._database = database
        self._bridge = bridge
        self._converge = converge
        self._wait = wait

    async def read(
        self,
        caller: Caller,
        client_id: UUID,
        *,
        exchange: str | None,
        max_age: timedelta,
        left: float | None,
    ) -> ClientBalances:
        """By all keys that are live and enabled, within the seconds that the caller has ``left``."""
        until = None if left is None else monotonic() + left
        reads = self._database.reads
        keys = await api_key_lists.in_use(reads, caller, client_id, exchange)
        if not keys and await clients.get(reads, client_id, caller) is None:
            raise NotFound("There is no such client.", reason="CLIENT_NOT_FOUND")
        found = {key.id: _not_asked(key) for key in keys}
        configured = [key for key in keys if key.configured]
        found |= await self._ask(configured, max_age, self._time(until))
        lost = [key for key in keys if self._can_be_repaired(found[key.id])]
        if lost:
            found |= await self._repair_and_ask(caller, lost, max_age, self._time(until))
        return ClientBalances([found[key.id] for key in keys])

    async def _ask(
        self, keys: Sequence[ApiKey], max_age: timedelta, time: timedelta
    ) -> dict[UUID, KeyBalances]:
        """One question for the account that all of these are in; more only for very many keys."""
        parts = [keys[start : start + _MOST_NAMED] for start in range(0, len(keys), _MOST_NAMED)]
        answers = await asyncio.gather(*(self._ask_part(part, max_age, time) for part in parts))
        return {each.key.id: each for answer in answers for each in answer}

    async def _ask_part(
        self, keys: Sequence[ApiKey], max_age: timedelta, time: timedelta
    ) -> list[KeyBalances]:
        account_name = account_name_of(keys[0].client_id)
        revisions = {key.connector_name: key.revision for key in keys}
        answer = await self._bridge.portfolio(account_name, revisions, max_age=max_age, timeout=time)
        if isinstance(answer, Outcome):
            return [_failed(key, answer) for key in keys]
        holdings = {each.connector_name: each for each in answer.holdings}
        return [_read(key, holdings.get(key.connector_name)) for key in keys]

    def _can_be_repaired(self, found: KeyBalances) -> bool:
        """Whether the key belongs on the bridge, and the bridge, which is there, does not hold it."""
        if (
            found.key.bridge_state is BridgeState.FAILED
            or found.key.bridge_reason is BridgeReason.RATE_LIMITED
        ):
            # Only somebody can help it, or only time.
            return False
        if self._bridge.is_away(account_name_of(found.key.client_id)):
            return False
        return found.status is ReadStatus.NOT_FOUND or not found.key.configured

    async def _repair_and_ask(
        self, caller: Caller, lost: Sequence[ApiKey], max_age: timedelta, time: timedelta
    ) -> dict[UUID, KeyBalances]:
        """Have the keys pushed again, and ask once more for those that the bridge then holds: half of the time for
        each, so that one that is pushed for long is the only one of which nothing is known.
        """
        until = monotonic() + time.total_seconds()
        repaired = await self._repair(caller, lost, until - time.total_seconds() / 2)
        found = {key.id: _not_asked(key) for key in repaired}
        configured = [key for key in repaired if key.configured]
        return found | await self._ask(configured, max_age, timedelta(seconds=until - monotonic()))

    async def _repair(self, caller: Caller, lost: Sequence[ApiKey], until: float) -> list[ApiKey]:
        """The keys after the bridge was given this long to take them."""
        gate = asyncio.Semaphore(_REPAIRED_AT_ONCE)

        async def repair(key: ApiKey) -> ApiKey | None:
            async with gate:
                time = timedelta(seconds=until - monotonic())
                return await self._converge(caller, key, timeout=time) if time > _EMPTY else key

        tried = await asyncio.gather(*(repair(key) for key in lost), return_exceptions=True)
        now = {key.id: _unless_failed(key, result) for key, result in zip(lost, tried, strict=True)}
        if others := [key_id for key_id, key in now.items() if key is None]:
            patience = timedelta(seconds=until - monotonic())
            now |= await once_answered(self._database.reads, caller, others, patience)
        return [now[key.id] or key for key in lost]

    def _time(self, until: float | None) -> timedelta:
        return time_for_bridge(self._wait, None if until is None else until - monotonic())


def _unless_failed(key: ApiKey, result: ApiKey | BaseException | None) -> ApiKey | None:
    """A repair that met an error of ours leaves the key as it was, and the other keys alone."""
    if isinstance(result, KeybridgeError):
        _log.warning("a key could not be repaired", key=str(key.id), reason=result.reason)
        return key
    if isinstance(result, BaseException):
        raise result
    return result


def _not_asked(key: ApiKey) -> KeyBalances:
    """What the row says of a key, before the bridge was asked, or where there is nothing to ask for."""
    status = ReadStatus.NOT_CONFIGURED if key.bridge_reason is None else _status(key.bridge_reason)
    return KeyBalances(key, configured=False, status=status, warning=key.why_not_configured)


def _read(key: ApiKey, holding: Holding | None) -> KeyBalances:
    status = ReadStatus.NOT_FOUND if holding is None else holding.status
    if holding is None or status is not ReadStatus.OK:
        held = status is not ReadStatus.NOT_FOUND
        return KeyBalances(key, configured=held, status=status, warning=warnings.not_read(status))
    return KeyBalances(key, configured=True, status=status, balances=holding.balances, as_of=holding.as_of)


def _failed(key: ApiKey, outcome: Outcome) -> KeyBalances:
    """The call as a whole failed: nobody said that the bridge holds the key."""
    if outcome.missing:
        return _read(key, None)
    status = _status(outcome.reason or BridgeReason.BRIDGE_ERROR)
    return KeyBalances(key, configured=False, status=status, warning=warnings.not_read(status))


def _status(reason: BridgeReason) -> ReadStatus:
    if reason is BridgeReason.BRIDGE_ERROR:
        return ReadStatus.ERROR
    return ReadStatus.__members__.get(reason.name, ReadStatus.NOT_CONFIGURED)
