"""One line in the log and one count in the metrics for every call that was begun, however it ended.

Never a word of its content.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from types import TracebackType
from typing import Protocol

import grpc
from grpc.aio import AbortError

from servicekit import logs
from servicekit.rpc.call import Call


class Metrics(Protocol):
    """What the server tells the metrics; ``servicekit.metrics`` has it."""

    def rpc_started(self, method: str) -> None:
        """A call began."""
        ...

    def rpc_finished(self, method: str, code: str, seconds: float) -> None:
        """The same call ended, with the name of this status code."""
        ...

    def rpc_refused(self, method: str, reason: str) -> None:
        """And this was the reason, where it ended with a refusal of ours."""
        ...


class NoMetrics:
    """For servers that nobody measures."""

    def rpc_started(self, method: str) -> None:
        """Nobody counts."""

    def rpc_finished(self, method: str, code: str, seconds: float) -> None:
        """Nobody counts."""

    def rpc_refused(self, method: str, reason: str) -> None:
        """Nobody counts."""


class Access:
    """Logs at INFO; the services named quiet (health: a probe every few seconds) at DEBUG."""

    name = "access"

    def __init__(self, metrics: Metrics, quiet: frozenset[str]) -> None:
        self._metrics = metrics
        self._quiet = quiet
        # Bound once: making a logger costs more than all else that happens here.
        self._log = logs.get(__name__).bind()

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        level = logging.DEBUG if call.method.service in self._quiet else logging.INFO
        return _Access(call, self._metrics, self._log, level)


class _Access:
    __slots__ = ("_call", "_level", "_log", "_metrics", "_started")

    def __init__(self, call: Call, metrics: Metrics, log: logs.Logger, level: int) -> None:
        self._call = call
        self._metrics = metrics
        self._log = log
        self._level = level

    async def __aenter__(self) -> None:
        self._metrics.rpc_started(self._call.method.full)
        self._started = perf_counter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call, seconds = self._call, perf_counter() - self._started
        code = _code(call, error).name
        self._metrics.rpc_finished(call.method.full, code, seconds)
        if call.reason:
            self._metrics.rpc_refused(call.method.full, call.reason)
        # Asked first, because the peer alone costs a tenth of a small call.
        if self._log.is_enabled_for(self._level):
            self._log.log(
                self._level,
                "rpc",
                method=call.method.full,
                code=code,
                reason=call.reason or None,
                duration_ms=round(seconds * 1000, 3),
                peer=call.context.peer(),
                request_id=call.request_id,
                principal=call.principal.name if call.principal else None,
            )


def _code(call: Call, error: BaseException | None) -> grpc.StatusCode:
    """What the caller got, or would have got had he stayed."""
    if call.code is not None:
        return call.code
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, AbortError):
        return call.context.code()
    left = call.time_remaining()
    if isinstance(error, asyncio.CancelledError) and left is not None and left <= 0:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED
