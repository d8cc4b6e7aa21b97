"""One call that is being served: what was called, by whom, under which request id, and how long is left.

Imports neither logging nor anything else of the server, because the client uses it too: to hand on the
request id.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
from grpc.aio import ServicerContext

from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal

REQUEST_ID = "x-request-id"


class CallerGone(asyncio.CancelledError):
    """Nobody is there any more to hear the answer; gRPC may say so before it cancels the call's task."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method as the contract has it, made once when the server is built."""

    service: str
    name: str
    policy: Policy
    unary: bool = True
    """One request and one response: neither side streams."""
    full: str = ""
    """As it stands in the request: ``/package.Service/Method``."""


@dataclass(slots=True, eq=False)
class Call:
    """What a handler may know about its call besides the request."""

    method: Method
    context: "ServicerContext[Any, Any]"
    request_id: str = ""
    principal: Principal | None = None
    code: grpc.StatusCode | None = None
    """What the call was refused with, once it has been."""
    reason: str = ""
    """The reason of that refusal."""
    held_back: float = 0
    """Seconds for which it is kept from the caller."""
    expires_at: float | None = None
    """On the monotonic clock, where the server gave the deadline because the caller had none."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, the caller's or else the server's default; None where there is none."""
        if self.expires_at is not None:
            return self.expires_at - monotonic()
        # The stub says float; without a deadline it is None.
        left: float | None = self.context.time_remaining()
        return left

    def header(self, name: str) -> str | None:
        """The first value that the caller sent under this metadata key (lower case)."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        """All of them."""
        metadata = self.context.invocation_metadata() or ()
        return [value for key, value in metadata if key == name and isinstance(value, str)]


_current: ContextVar[Call | None] = ContextVar("keybridge_call", default=None)


def current_call() -> Call | None:
    """The call that this task is serving, or None outside of one."""
    return _current.get()


def enter(call: Call) -> None:
    """Make this the current call. gRPC runs each call in a task of its own, so nothing has to be put back."""
    _current.set(call)
