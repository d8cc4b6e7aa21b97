"""What one caller may use, so that the haste of one is not the wait of all: calls a second, calls and streams at once.

Callers are told apart by their principal, and by their address as long as they may remain unknown. All is counted in
memory and for one process: with several workers or replicas each of them grants as much.

What a refusal costs is nearly all gRPC's, and as much as an empty call. So one who hears many of them hears them late:
whether he calls again on each, or as often as his connections take it, he slows down himself; on tens of connections he
does not.
"""

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Final

from servicekit.errors import ResourceExhausted
from servicekit.rpc.call import Call

RATE_EXCEEDED: Final = "RATE_EXCEEDED"
TOO_MANY_CALLS: Final = "TOO_MANY_CALLS_OF_ONE"
TOO_MANY_STREAMS: Final = "TOO_MANY_STREAMS_OF_ONE"

# The refusals of one caller are told so far apart, in seconds, but none of them later than this.
_BETWEEN_REFUSALS = 0.01
_LATEST_REFUSAL = 5.0

_A_MOMENT = timedelta(seconds=1)
_A_TICK = timedelta(milliseconds=1)
# Below this nobody is looked for who can be forgotten.
_FEW = 1000
_NOTHING: AbstractAsyncContextManager[None] = nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one caller; 0 is no limit."""

    rate: float
    """Calls a second, in the long run."""
    burst: int
    """Calls that may come at once by one who was quiet before."""
    calls: int
    """Unary calls under way."""
    streams: int
    """Streams that are open."""


class Usage:
    """What one caller uses now. His tokens are kept as the moment when he will have all of them again."""

    __slots__ = ("calls", "full_at", "refusal_at", "streams")

    def __init__(self, now: float) -> None:
        self.full_at = now
        self.refusal_at = now
        self.calls = 0
        self.streams = 0

    def take(self, limits: Limits, now: float) -> float:
        """Take a token: 0 when there was one, or else the seconds until there is one."""
        if not limits.rate:
            return 0
        full_at = max(self.full_at, now) + 1 / limits.rate
        missing = full_at - now - limits.burst / limits.rate
        if missing > 1e-9:  # what sums of fractions are off
            return missing
        self.full_at = full_at
        return 0

    def take_turn(self, now: float) -> float:
        """Take the next turn to hear a refusal: the seconds until then."""
        wait = min(max(self.refusal_at - now, 0), _LATEST_REFUSAL)
        self.refusal_at = now + wait + _BETWEEN_REFUSALS
        return wait

    def is_idle(self, now: float) -> bool:
        """Whether whoever comes anew is treated just the same."""
        return not self.calls and not self.streams and max(self.full_at, self.refusal_at) <= now


class Quota:
    """Refuses what is more than one caller may use; it stands behind authorisation, which says who he is.

    The unary calls of the services named exempt cost as little to answer as to refuse, and a probe must not fail
    because somebody is in haste. ``strangers`` says whether callers without a principal are told apart, by their
    address: on a loopback address they all have the same.
    """

    name = "quota"

    def __init__(
        self,
        limits: Limits,
        exempt: frozenset[str],
        *,
        strangers: bool,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limits = limits
        self._exempt = exempt
        self._strangers = strangers
        self._clock = clock
        self._callers: dict[str, Usage] = {}
        self._many = _FEW

    @property
    def remembered(self) -> int:
        """How many callers are remembered."""
        return len(self._callers)

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        if call.method.unary and call.method.service in self._exempt:
            return _NOTHING
        caller = self._caller(call)
        return _NOTHING if caller is None else _Counted(self, caller, call)

    def enter(self, caller: str, call: Call) -> Usage:
        """Count a call that begins, or refuse it and say when that is to be told."""
        now = self._clock()
        used = self._callers.get(caller)
        if used is None:
            used = self._remember(caller, now)
        try:
            self._take_place(used, now, unary=call.method.unary)
        except ResourceExhausted:
            call.held_back = used.take_turn(now)
            raise
        return used

    def _take_place(self, used: Usage, now: float, *, unary: bool) -> None:
        limits = self._limits
        if unary:
            _require_room(used.calls, limits.calls, "calls", TOO_MANY_CALLS)
        else:
            _require_room(used.streams, limits.streams, "streams", TOO_MANY_STREAMS)
        if missing := used.take(limits, now):
            raise ResourceExhausted(
                f"You have made more than {limits.rate:g} calls a second for too long; this one was not begun.",
                reason=RATE_EXCEEDED,
                retry_after=_rounded_up(missing),
            )

    def _caller(self, call: Call) -> str | None:
        """By what a caller is told from others; None for one who is not limited."""
        if call.principal is not None:
            # KeyService, which after a restart of the bridge speaks for all of its keys at once, is not limited.
            return None if call.principal.speaks_for_all else f"principal {call.principal.name}"
        # Without the port, which every connection has another one of.
        return f"address {call.context.peer().rpartition(':')[0]}" if self._strangers else None

    def _remember(self, caller: str, now: float) -> Usage:
        if len(self._callers) >= self._many:
            self._callers = {each: used for each, used in self._callers.items() if not used.is_idle(now)}
            # Looking again only when there are twice as many, each caller pays for two at most.
            self._many = max(_FEW, 2 * len(self._callers))
        used = self._callers[caller] = Usage(now)
        return used


class _Counted:
    __slots__ = ("_call", "_caller", "_quota", "_used")

    def __init__(self, quota: Quota, caller: str, call: Call) -> None:
        self._quota = quota
        self._caller = caller
        self._call = call

    async def __aenter__(self) -> None:
        self._used = self._quota.enter(self._caller, self._call)
        if self._call.method.unary:
            self._used.calls += 1
        else:
            self._used.streams += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call.method.unary:
            self._used.calls -= 1
        else:
            self._used.streams -= 1


def _require_room(used: int, limit: int, what: str, reason: str) -> None:
    if limit and used >= limit:
        raise ResourceExhausted(
            f"You have {limit} {what} under way already, as many as one caller may have. Let one of them end.",
            reason=reason,
            retry_after=_A_MOMENT,
        )


def _rounded_up(seconds: float) -> timedelta:
    return math.ceil(timedelta(seconds=seconds) / _A_TICK) * _A_TICK
