"""The messages that callers send, and how long they are waited for.

A caller is admitted for what his headers say, and sends his message when he likes. So the wait for it has an end,
whatever deadline he gave himself; and where it was longer than a moment, he is admitted once more. Of those who need
not say who they are, few are waited for at a time, and none for long. Once the server takes no more calls, no message
is waited for much longer, also of a stream that could go on for ever.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from servicekit.errors import (
    DeadlineExceeded,
    InvalidArgument,
    KeybridgeError,
    ResourceExhausted,
    Unavailable,
)
from servicekit.rpc.admission import RETRY_ELSEWHERE
from servicekit.rpc.call import Call
from servicekit.rpc.interceptors import Authorizer, admit_again

_T = TypeVar("_T")

# Far more than the slowest network needs from headers to a message.
_LONGEST = timedelta(seconds=10)
_LONGEST_OF_STRANGERS = timedelta(seconds=2)
# Enough for a message that is on the wire already.
_LONGEST_AT_THE_END = timedelta(milliseconds=500)
# In less than this nobody was revoked who was good when his headers came.
_A_MOMENT = 0.1
_A_SECOND = timedelta(seconds=1)
# After an end without a message the call itself may be over, and is cancelled so soon.
_SETTLING = 0.05


class Messages:
    """Waits for them: for so many at a time of those that anybody may send."""

    def __init__(self, authorizer: Authorizer, public: int) -> None:
        self._authorizer = authorizer
        self._waits = Waits(_LONGEST.total_seconds())
        self._public = Waits(_LONGEST_OF_STRANGERS.total_seconds(), public)
        self._next = Waits(math.inf)

    def hurry(self) -> None:
        """From now on wait for hardly longer than a message takes that was sent with its headers."""
        for waits in (self._waits, self._public, self._next):
            waits.shorten(_LONGEST_AT_THE_END.total_seconds(), _stopping)

    async def each(self, call: Call) -> AsyncIterator[bytes]:
        """The messages of a call that may have many, whenever its caller sends one."""
        raw: Any
        while (raw := await self._next.until(call.context.read())) is not grpc.aio.EOF:
            yield bytes(raw)

    async def only(self, call: Call) -> bytes:
        """The message of a call that has just one."""
        now = asyncio.get_running_loop().time
        began = now()
        waits = self._public if call.method.policy.public else self._waits
        raw: Any = await waits.until(call.context.read())
        if raw is grpc.aio.EOF:
            # Also said of a call that is over, its message being too large or its caller gone; this task is then
            # cancelled.
            await asyncio.sleep(_SETTLING)
            raise InvalidArgument("The call brought no request message.", reason="MALFORMED_REQUEST")
        if now() - began > _A_MOMENT:
            await admit_again(self._authorizer, call)
        return bytes(raw)


def _not_sent(longest: float) -> KeybridgeError:
    return DeadlineExceeded(
        f"The request did not come within {longest:g} s of its headers; the call was not begun.",
        reason="REQUEST_NOT_SENT",
    )


def _stopping(_longest: float) -> KeybridgeError:
    return Unavailable(
        "The server is shutting down and waits for no message any more. Call again to go on.",
        reason="SHUTTING_DOWN",
        retry_after=RETRY_ELSEWHERE,
    )


@dataclass(slots=True, eq=False)
class _Wait:
    """Somebody's, who is told why it was ended."""

    began: float
    timeout: asyncio.Timeout
    why: KeybridgeError | None = None


class Waits:
    """All that are under way, the longest first. They have one timer together: one each would cost a call a hundredth
    more.

    With one more than ``most``, that which is the longest makes room: whoever sends his message at once is not refused
    because of those who do not.
    """

    def __init__(self, longest: float, most: float = math.inf) -> None:
        self._longest = longest
        self._over: Callable[[float], KeybridgeError] = _not_sent
        self._most = most
        self._under_way: dict[_Wait, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def until(self, awaited: Awaitable[_T]) -> _T:
        """What is awaited, or the error that the wait is ended with."""
        timeout = asyncio.timeout(None)
        wait = _Wait(asyncio.get_running_loop().time(), timeout)
        try:
            async with timeout:
                self._begin(wait)
                return await awaited
        except TimeoutError as error:
            ended = wait.why or error
            # An error that leads back to itself would keep the call until the collector of garbage comes by.
            wait.why = None
            try:
                raise ended from None
            finally:
                del ended
        finally:
            self._under_way.pop(wait, None)

    def shorten(self, longest: float, over: Callable[[float], KeybridgeError]) -> None:
        """Give all that are under way, and those to come, so long, and say this when it is over."""
        self._longest, self._over = longest, over
        if self._timer is not None:
            self._timer.cancel()
        self._end_old()

    def _begin(self, wait: _Wait) -> None:
        if len(self._under_way) >= self._most:
            self._end(
                next(iter(self._under_way)),
                ResourceExhausted(
                    f"More than {self._most} callers who do not say who they are have not sent their requests.",
                    reason="TOO_MANY_UNSENT_REQUESTS",
                    retry_after=_A_SECOND,
                ),
            )
        self._under_way[wait] = None
        if self._timer is None and self._longest < math.inf:
            self._set_timer(wait)

    def _set_timer(self, first: _Wait) -> None:
        # Of nobody's call: that of whoever happens to set it would be kept until it rings.
        loop, nobodys = asyncio.get_running_loop(), Context()
        self._timer = loop.call_at(first.began + self._longest, self._end_old, context=nobodys)

    def _end_old(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for wait in list(self._under_way):
            if wait.began + self._longest > now:
                self._set_timer(wait)
                return
            self._end(wait, self._over(self._longest))

    def _end(self, wait: _Wait, why: KeybridgeError) -> None:
        del self._under_way[wait]
        wait.why = why
        wait.timeout.reschedule(asyncio.get_running_loop().time())
