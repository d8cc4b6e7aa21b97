"""The one place where an exception becomes a status.

What nobody foresaw is logged here and leaves no word on the wire.
"""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Never

from google.rpc.status_pb2 import Status
from grpc.aio import AbortError

from servicekit import logs
from servicekit.errors import DeadlineExceeded, Internal, KeybridgeError
from servicekit.rpc.call import REQUEST_ID, Call, CallerGone
from servicekit.rpc.status import CODE_BY_NUMBER, DETAILS_KEY, to_status

# A timer may fire a little before the moment that the deadline names.
_CLOCK_SLACK = 0.01
# So many refusals are held back at a time, and the others are told at once: each consists of a hundred objects, which
# Python's collector of garbage looks through while it stops everybody.
_MOST_HELD_BACK = 300
# Of the time that a caller has left, after which he would not hear why he was refused.
_IN_TIME = 0.9


class Errors:
    """Translates whatever a handler or an inner link raises.

    A refusal that is to be held back waits here, where the call has left all places that others may want: until its
    time has come, or the server is ``draining``.
    """

    name = "errors"

    def __init__(self, draining: asyncio.Event) -> None:
        self._log = logs.get(__name__)
        self._draining = draining
        self.held_back = 0

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        return _Errors(call, self._log, self._hold_back)

    async def _hold_back(self, call: Call) -> None:
        if self.held_back >= _MOST_HELD_BACK:
            return
        left = call.time_remaining()
        longest = call.held_back if left is None else min(call.held_back, left * _IN_TIME)
        # What came together and is told together would come again together.
        seconds = longest * random.uniform(0.5, 1)  # noqa: S311 - it guards nothing
        self.held_back += 1
        try:
            async with asyncio.timeout(seconds):
                await self._draining.wait()
        except TimeoutError:
            return
        finally:
            self.held_back -= 1


class _Errors:
    __slots__ = ("_call", "_hold_back", "_log")

    def __init__(self, call: Call, log: logs.Logger, hold_back: Callable[[Call], Awaitable[None]]) -> None:
        self._call = call
        self._log = log
        self._hold_back = hold_back

    async def __aenter__(self) -> None:
        """Nothing to do on the way in."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An abort has been answered already.
        if error is None or isinstance(error, AbortError):
            return
        if not isinstance(error, Exception) and not _is_stray_cancellation(error):
            return
        translated = self._translated(error)
        _let_go(error)
        if self._call.held_back:
            await self._hold_back(self._call)
        await self._refuse(translated)

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

    async def _refuse(self, error: KeybridgeError) -> Never:
        call = self._call
        status = self._encoded(error)
        call.code, call.reason = CODE_BY_NUMBER[status.code], error.reason
        trailing = ((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID, call.request_id))
        await call.context.abort(call.code, status.message, trailing)

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


def _let_go(error: BaseException) -> None:
    """Empty the frames that the error came through: gRPC keeps it for a while, and they hold what was requested."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


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
