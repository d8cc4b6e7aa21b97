"""The one place where an exception becomes a status.

What nobody foresaw is logged here and leaves no word on the wire.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from google.rpc.status_pb2 import Status
from grpc.aio import AbortError

from servicekit import logs
from servicekit.errors import DeadlineExceeded, Internal, KeybridgeError
from servicekit.rpc.call import REQUEST_ID, Call, CallerGone
from servicekit.rpc.status import CODE_BY_NUMBER, DETAILS_KEY, to_status

# A timer may fire a little before the moment that the deadline names.
_CLOCK_SLACK = 0.01
# So many refusals are held back at a time, and the others are told at once: each consists of sixty objects, which
# Python's collector of garbage looks through while it stops everybody.
_MOST_HELD_BACK = 1000
# Of the time that a caller has left, after which he would not hear why he was refused.
_IN_TIME = 0.9


class Errors:
    """Translates whatever a handler or an inner link raises.

    A refusal that is to be held back waits here, where the call has left all places that others may want: until its
    time has come, or the server drains.
    """

    name = "errors"

    def __init__(self) -> None:
        self._log = logs.get(__name__)
        self._held: set[asyncio.Future[None]] = set()
        self._drains = False

    @property
    def held_back(self) -> int:
        """How many refusals wait to be told."""
        return len(self._held)

    def drain(self) -> None:
        """Hold nothing back any more."""
        self._drains = True
        for told in self._held:
            _tell(told)

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        return _Errors(call, self._log, self._hold_back)

    async def _hold_back(self, call: Call) -> None:
        if self._drains or len(self._held) >= _MOST_HELD_BACK:
            return
        left = call.time_remaining()
        longest = call.held_back if left is None else min(call.held_back, left * _IN_TIME)
        # What came together and is told together would come again together.
        seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - it guards nothing
        # No asyncio.timeout, which ends in two exceptions.
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        timer = loop.call_later(seconds, _tell, told)
        self._held.add(told)
        try:
            await told
        finally:
            timer.cancel()
            self._held.discard(told)


class _Errors:
    """Tells the caller, and ends the error here: gRPC knows by itself that the call is over."""

    __slots__ = ("_call", "_hold_back", "_log")

    def __init__(self, call: Call, log: logs.Logger, hold_back: Callable[[Call], Awaitable[None]]) -> None:
        self._call = call
        self._log = log
        self._hold_back = hold_back

    async def __aenter__(self) -> None:
        """Nothing to do on the way in."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # An abort has been answered already.
        if error is None or isinstance(error, AbortError):
            return False
        if not isinstance(error, Exception) and not _is_stray_cancellation(error):
            return False
        translated = self._translated(error)
        if self._call.held_back:
            del trace
            error.__traceback__ = None  # the less is kept, the less the collector looks through
            await self._hold_back(self._call)
        await self._refuse(translated)
        return True

    def _translated(self, error: BaseException) -> KeybridgeError:
        if isinstance(error, KeybridgeError) and not isinstance(error, Internal):
            return error
        left = self._call.time_remaining()
        if isinstance(error, TimeoutError) and left is not None and left <= _CLOCK_SLACK:
            return DeadlineExceeded("The time was up before there was an answer.")
        self._log.error(
            "unforeseen error",
            method=self._call.method.full,
            request_id=self._call.request_id,
            exc_info=error,  # printed without values and without foreign words
        )
        return error if isinstance(error, Internal) else Internal("unforeseen error")

    async def _refuse(self, error: KeybridgeError) -> None:
        call = self._call
        status = self._encoded(error)
        call.code, call.reason = CODE_BY_NUMBER[status.code], error.reason
        trailing = ((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID, call.request_id))
        try:
            await call.context.abort(call.code, status.message, trailing)
        except AbortError as told:
            # The call keeps it. Let it not keep the call in turn, nor what was requested: only the collector of
            # garbage would find them.
            told.__traceback__ = told.__context__ = None

    def _encoded(self, error: KeybridgeError) -> Status:
        request_id = self._call.request_id
        try:
            return to_status(error, request_id)
        except Exception as unfit:  # noqa: BLE001 - the outermost boundary: gRPC would send Python's words
            self._log.error(
                "an error does not fit into a status",
                method=self._call.method.full,
                request_id=request_id,
                error=type(error).__name__,
                exc_info=unfit,
            )
            return to_status(Internal("unfit"), request_id)


def _tell(told: "asyncio.Future[None]") -> None:
    if not told.done():
        told.set_result(None)


def _is_stray_cancellation(error: BaseException) -> bool:
    """Whether something else than this call was cancelled: gRPC would take it for the call's and never answer.

    Where the caller or the end of the grace is behind it, gRPC has cancelled the task, and nobody is told.
    """
    if isinstance(error, BaseExceptionGroup):
        stray = error.subgroup(asyncio.CancelledError) is not None
    else:
        stray = isinstance(error, asyncio.CancelledError) and not isinstance(error, CallerGone)
    task = asyncio.current_task()
    return stray and task is not None and not task.cancelling()
