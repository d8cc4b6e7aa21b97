"""The link that takes calls or refuses them: how many the process serves at once, and whether it serves at all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Final

from servicekit.errors import ResourceExhausted, Unavailable
from servicekit.rpc.call import Call

RETRY_ELSEWHERE: Final = timedelta(milliseconds=100)
"""Another process takes the call at once; where there is none, its successor may need a moment."""

_A_MOMENT = timedelta(seconds=1)
_NOTHING: AbstractAsyncContextManager[None] = nullcontext()


class Admission:
    """Refuses at once what is more than the process should serve at a time; nothing queues here.

    Once closed it refuses whatever is new, in words that say where to go on: gRPC itself, when it is stopped,
    answers what arrives with a bare CANCELLED.

    Streams that are open to everybody (health, reflection) have a limit of their own, each contract apart: nobody knows
    who holds them, so that they are to leave room for the calls of those who say who they are.
    """

    name = "admission"

    def __init__(self, limit: int, exempt: frozenset[str], public_streams: int) -> None:
        self._limit = limit
        self._exempt = exempt
        self._most_public = public_streams
        self._public: Counter[str] = Counter()
        self.closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.serving = 0

    def close(self) -> None:
        """Take no more calls; those that have begun go on."""
        self.closed = True

    async def idle(self) -> None:
        """Wait until no call is being served."""
        await self._idle.wait()

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        method = call.method
        within = _NOTHING if method.service in self._exempt else self
        # What is in no contract is refused at once, and holds nothing.
        is_open_to_all = method.policy.public and method.service and not method.unary
        return self._public_stream(method.service, within) if is_open_to_all else within

    @asynccontextmanager
    async def _public_stream(
        self, service: str, within: AbstractAsyncContextManager[None]
    ) -> AsyncIterator[None]:
        if self._public[service] >= self._most_public:
            raise ResourceExhausted(
                f"There are {self._most_public} such streams open already, as many as callers may have who do not say "
                "who they are. Try again in a second.",
                reason="TOO_MANY_PUBLIC_STREAMS",
                retry_after=_A_MOMENT,
            )
        self._public[service] += 1
        try:
            async with within:
                yield
        finally:
            self._public[service] -= 1

    async def __aenter__(self) -> None:
        if self.closed:
            raise Unavailable(
                "The server is shutting down and did not begin this call. Try again.",
                reason="SHUTTING_DOWN",
                retry_after=RETRY_ELSEWHERE,
            )
        if self.serving >= self._limit:
            raise ResourceExhausted(
                f"The server is busy: it serves {self._limit} calls already. Try again in a second.",
                reason="TOO_MANY_CALLS",
                retry_after=_A_MOMENT,
            )
        self.serving += 1
        self._idle.clear()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.serving -= 1
        if not self.serving:
            self._idle.set()
