"""The chain around every call, unary or streaming, and those of its links that neither log nor translate.

From the outside in: resets, request id, access log and metrics, errors, admission, authorisation, quota, deadline.
Errors stand just inside the access log, so that a refusal by an inner link is translated like any other and is
logged as what it became. A link is asked for a context manager once a call, so these are small classes and
not generators.
"""

import asyncio
import re
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Never, Protocol
from uuid import uuid4

import structlog

from servicekit.errors import DeadlineExceeded, KeybridgeError, StartupError, Unavailable
from servicekit.rpc.admission import RETRY_ELSEWHERE
from servicekit.rpc.call import REQUEST_ID, Call
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")
# A stream whose caller is no longer admitted goes on no longer than this.
_ASK_AGAIN = timedelta(seconds=5)
_NOTHING: AbstractAsyncContextManager[None] = nullcontext()


class Interceptor(Protocol):
    """One link of the chain."""

    name: str

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """What is entered before the links further in and left after them."""
        ...


class Chain(NamedTuple):
    """The links in their order: a field is a place, and each link must stand in the place of its name."""

    resets: Interceptor
    request_id: Interceptor
    access: Interceptor
    errors: Interceptor
    admission: Interceptor
    authorisation: Interceptor
    quota: Interceptor
    deadline: Interceptor

    def check(self) -> None:
        """Stop the start when a link stands in another one's place."""
        for place, link in zip(self._fields, self, strict=True):
            if link.name != place:
                raise StartupError(f"The interceptor {link.name} stands in the place of {place}.")


class _Link:
    """The half of a context manager that most links do not need."""

    __slots__ = ()

    async def __aenter__(self) -> None:
        """Nothing to do on the way in."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do on the way out."""


class RequestId:
    """Takes the caller's request id or makes one, gives it back and binds it to the log."""

    name = "request_id"

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        given = call.header(REQUEST_ID)
        call.request_id = given if given and _SANE_REQUEST_ID.fullmatch(given) else str(uuid4())
        # The task is the call's own, so that the binding ends with it.
        structlog.contextvars.bind_contextvars(request_id=call.request_id)
        # A unary answer carries it in the trailers: headers sent ahead would cost a small call a tenth more.
        call.context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        return _NOTHING if call.method.unary else _Announced(call)


class _Announced(_Link):
    """A stream may never end, so that its request id goes ahead of it too."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __aenter__(self) -> None:
        await self._call.context.send_initial_metadata(((REQUEST_ID, self._call.request_id),))


class Authorizer(Protocol):
    """Says who calls; raises Unauthenticated or PermissionDenied where the policy does not admit them."""

    async def authorize(self, call: Call, policy: Policy, /) -> Principal | None:
        """The principal, or None for a caller who may remain unknown."""
        ...


class Open:
    """Admits everyone as nobody in particular."""

    async def authorize(self, _call: Call, _policy: Policy, /) -> Principal | None:
        return None


class Authorisation:
    """Asks the authorizer with the policy that the contract gives the method."""

    name = "authorisation"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        if call.method.unary or call.method.policy.public:
            return _Authorised(self._authorizer, call)
        return _StillAuthorised(self._authorizer, call)


class _Authorised(_Link):
    __slots__ = ("_authorizer", "_call")

    def __init__(self, authorizer: Authorizer, call: Call) -> None:
        self._authorizer = authorizer
        self._call = call

    async def __aenter__(self) -> None:
        self._call.principal = await self._authorizer.authorize(self._call, self._call.method.policy)


class _StillAuthorised(_Authorised):
    """A stream may outlive what its caller was admitted for, so it is asked again and again, and ended on a no, or when
    he is somebody else by now.
    """

    __slots__ = ("_asking", "_over", "_timeout")

    async def __aenter__(self) -> None:
        await super().__aenter__()
        self._over = False
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._asking = asyncio.create_task(self._ask())
        self._asking.add_done_callback(self._end)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._asking.cancel()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as ended:
            raise (self._asking.exception() or ended) from None

    async def _ask(self) -> Never:
        while True:
            await asyncio.sleep(_ASK_AGAIN.total_seconds())
            await admit_again(self._authorizer, self._call)

    def _end(self, asking: asyncio.Task[Never]) -> None:
        refused = not asking.cancelled() and asking.exception() is not None
        if refused and not self._over:
            self._timeout.reschedule(asyncio.get_running_loop().time())


async def admit_again(authorizer: Authorizer, call: Call) -> None:
    """Refuse who is not admitted any more, or for something else than what he might see when the call began."""
    if await authorizer.authorize(call, call.method.policy) != call.principal:
        raise Unavailable(
            "What you are granted has changed since this call began; call again to go on.",
            reason="GRANT_CHANGED",
            retry_after=RETRY_ELSEWHERE,
        )


class Deadline:
    """Gives unary calls without a deadline the default, and refuses at once what has no time left.

    A stream has no default, but it is ended at some age, whether it was idle or not, for its caller to begin anew:
    nobody keeps a place for ever by saying nothing. Those of the services named endless, whose callers would take
    the end for an illness, go on.
    """

    name = "deadline"

    def __init__(self, default: float, floor: float, stream_age: float, endless: frozenset[str]) -> None:
        self._default = default
        self._floor = floor
        self._stream_age = stream_age
        self._endless = endless

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        left = call.time_remaining()
        if left is not None and left < self._floor:
            raise DeadlineExceeded(
                f"Less than {self._floor * 1000:g} ms were left for this call; it was not begun.",
                reason="DEADLINE_TOO_SHORT",
            )
        if call.method.unary:
            return _DefaultDeadline(call, self._default) if left is None else _NOTHING
        return _NOTHING if call.method.service in self._endless else _LongestStream(self._stream_age)


class _Timed:
    """The event loop's own time-out; gRPC enforces only those deadlines that a caller set."""

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._over() from None

    def _over(self) -> KeybridgeError:
        raise NotImplementedError


class _DefaultDeadline(_Timed):
    __slots__ = ("_call",)

    def __init__(self, call: Call, seconds: float) -> None:
        super().__init__(seconds)
        self._call = call

    async def __aenter__(self) -> None:
        self._call.expires_at = monotonic() + self._seconds
        await super().__aenter__()

    def _over(self) -> KeybridgeError:
        return DeadlineExceeded(
            f"There was no answer within {self._seconds:g} s, the default for calls without a deadline."
        )


class _LongestStream(_Timed):
    __slots__ = ()

    def _over(self) -> KeybridgeError:
        return Unavailable(
            f"A stream is open for {self._seconds:g} s at the most; call again to go on.",
            reason="STREAM_EXPIRED",
            retry_after=RETRY_ELSEWHERE,
        )
