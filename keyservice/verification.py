"""The use case of proving a key: its exchange is asked through the bridge, and what it allows is kept with the key."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

from keyservice import warnings
from keyservice.bridge import Bridge
from keyservice.bridge_records import Connector, Outcome, Permissions
from keyservice.convergence import Convergence
from keyservice.custody import require_in_use
from keyservice.deadlines import time_for_bridge
from keyservice.enums import BridgeReason, Permission
from keyservice.errands import Within
from keyservice.others import once_answered
from keyservice.records import ApiKey, Caller
from keyservice.store import api_keys, audit
from servicekit.database.engine import Database
from servicekit.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    KeybridgeError,
    ResourceExhausted,
    Unavailable,
)

_ERRORS: dict[BridgeReason, type[KeybridgeError]] = {
    BridgeReason.BRIDGE_TIMEOUT: DeadlineExceeded,
    BridgeReason.BRIDGE_UNAVAILABLE: Unavailable,
    BridgeReason.EXCHANGE_UNAVAILABLE: Unavailable,
    BridgeReason.RATE_LIMITED: ResourceExhausted,
}
_PROVEN = "The exchange accepts the credentials."
_CAN_WITHDRAW = (
    "They allow withdrawals, which nothing here ever needs: replace them by ones that do not, on the exchange's"
    " own site."
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What an exchange said of a key."""

    key: ApiKey
    permissions: Permissions

    @property
    def message(self) -> str:
        risky = self.permissions.withdraw is Permission.YES
        return f"{_PROVEN} {_CAN_WITHDRAW}" if risky else _PROVEN


class Verification:
    """Has exchanges say what keys may do."""

    def __init__(self, database: Database, bridge: Bridge, convergence: Convergence) -> None:
        self._database = database
        self._bridge = bridge
        self._convergence = convergence

    async def verify(self, caller: Caller, key_id: UUID, within: Within) -> Proof:
        """A key that the bridge does not hold is taken to it first."""
        until = None if within is None else monotonic() + within
        key = require_in_use(await api_keys.get(self._database.reads, key_id, caller))
        outcome = await self._ask(key, until)
        if outcome.missing:
            key = require_in_use(await self._repaired(caller, key, until))
            # Why it can't be taken there says more than that it is not there.
            outcome = await self._ask(key, until) if key.configured else _why_not(key)
        if outcome.reason is not None or outcome.permissions is None:
            raise _refused(outcome)
        kept = await self._convergence.keep_permissions(key, outcome.permissions)
        if kept is None:
            raise Aborted("The key was changed by someone else at the same time; try again.")
        self._convergence.tell(key_id)
        async with self._database.transaction() as connection:
            await audit.record(connection, caller, "VerifyApiKey", client_id=key.client_id, api_key_id=key_id)
        return Proof(kept, outcome.permissions)

    async def _repaired(self, caller: Caller, key: ApiKey, until: float | None) -> ApiKey | None:
        """Where somebody takes it to the bridge already, what comes of that is the answer."""
        repaired = await self._convergence.repair(caller, key, timeout=self._time(until))
        if repaired is not None:
            return repaired
        answered = await once_answered(self._database.reads, caller, [key.id], self._time(until))
        return answered.get(key.id)

    async def _ask(self, key: ApiKey, until: float | None) -> Outcome:
        return await self._bridge.verify(Connector.of(key), timeout=self._time(until))

    def _time(self, until: float | None) -> timedelta:
        left = None if until is None else until - monotonic()
        return time_for_bridge(self._convergence.bridge_timeout, left)


def _why_not(key: ApiKey) -> Outcome:
    """What has kept a key from the bridge, which may be no more than the time that there was."""
    if key.bridge_reason is not BridgeReason.RATE_LIMITED or key.next_attempt_at is None:
        return Outcome(key.bridge_reason or BridgeReason.BRIDGE_TIMEOUT)
    left = key.next_attempt_at - datetime.now(UTC)
    return Outcome(key.bridge_reason, retry_after=max(left, timedelta(0)))


def _refused(outcome: Outcome) -> KeybridgeError:
    reason = outcome.reason or BridgeReason.BRIDGE_ERROR
    kind = _ERRORS.get(reason, FailedPrecondition)
    sentence = f"The key could not be verified: {warnings.what(reason)}."
    return kind(sentence, reason=reason.name, retry_after=outcome.retry_after)
