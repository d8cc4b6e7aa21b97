"""The link that lets gRPC say first whether a call is still wanted, while there are callers who take theirs back.

gRPC hands over also what was reset while it waited for its turn, and says so a little later. What the other links do
for such a call until then, and undo, costs as much again as all that gRPC does for it; and while the one thread that
runs Python is at it, everybody else waits.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from time import monotonic
from types import TracebackType

import grpc

from servicekit.rpc.access import Metrics
from servicekit.rpc.call import Call

# Whoever took one call back may take back others: so long, in seconds, all are looked at twice.
_WARY = 1.0
# Turns of the event loop. Two are enough for a reset to become a cancelled task if gRPC's thread runs at once, which
# waits for a processor where there are few.
_TURNS = 8


class Resets:
    """Begins nothing for a call that its caller has taken back already.

    It is counted like any other that was cancelled. It is not logged: with thousands of them a second, that would cost
    more than they do. As long as no call is taken back, none is held up.
    """

    name = "resets"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._wary_until = 0.0

    @property
    def wary(self) -> bool:
        """Whether a call was taken back a moment ago."""
        return monotonic() < self._wary_until

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        return _Wanted(call.method.full, self)

    def taken_back(self) -> None:
        """Be wary of the next ones."""
        self._wary_until = monotonic() + _WARY

    def not_begun(self, method: str) -> None:
        """Count a call of which this is all that happened."""
        self._metrics.rpc_started(method)
        self._metrics.rpc_finished(method, grpc.StatusCode.CANCELLED.name, 0)


class _Wanted:
    __slots__ = ("_method", "_resets")

    def __init__(self, method: str, resets: Resets) -> None:
        self._method = method
        self._resets = resets

    async def __aenter__(self) -> None:
        if not self._resets.wary:
            return
        try:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._resets.taken_back()
            self._resets.not_begun(self._method)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._resets.taken_back()
