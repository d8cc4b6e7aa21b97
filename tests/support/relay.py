"""What stands between KeyService and its bridges: a proxy that answers by itself, or a balancer that picks by account.

It speaks the contract over real sockets without knowing it: calls are passed on as bytes, which whoever looks at what
was seen may read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self

import grpc
from grpc.aio import AioRpcError

from bridgeservice.v1 import trading_bridge_pb2 as pb
from keyservice.bridge import ACCOUNT_HEADER
from servicekit.errors import KeybridgeError
from servicekit.rpc.status import DETAILS_KEY, code_of, to_status
from tests.support.service_process import PATIENCE

Context = Any
"""gRPC's, of a server that takes and gives bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status that the relay answers in the place of the bridge."""

    code: grpc.StatusCode
    trailers: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, error: KeybridgeError) -> "Answer":
        """As one of our services refuses."""
        status = to_status(error, "a request of a test")
        return cls(code_of(error), ((DETAILS_KEY, status.SerializeToString()),))


@dataclass(slots=True, eq=False)
class Seen:
    """A call that came by."""

    method: str
    account: str
    peer: str
    """The connection that it came on: each KeyService has its own."""
    request: bytes = field(repr=False)
    begun: float = field(default_factory=monotonic)
    over: float | None = None
    """When it had its answer, or nobody waited for one any more; None until then."""


Place = tuple[str, str]
"""An account, and a connector of it."""


def place(push: Seen) -> Place:
    """Which connector a call of AddConnector is about."""
    request = pb.AddConnectorRequest.FromString(push.request)
    return request.account_name, request.connector_name


async def at_once(_seen: Seen) -> None:
    """How a relay passes calls on, unless a test has other wishes."""


class Delayed:
    """A call that is on its way for longer than its caller waits, and then arrives all the same."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        """Set once the relay has it."""
        self.path = ""
        self.request = b""

    async def deliver(self, channel: grpc.aio.Channel) -> grpc.StatusCode:
        """Hand it over now; how the bridge answers, of which nobody hears."""
        call: Any = channel.unary_unary(self.path)
        try:
            await call(self.request, timeout=PATIENCE)
        except AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


class Relay(grpc.GenericRpcHandler):
    """Listens on a port of its own."""

    def __init__(self, route: Callable[[str], str]) -> None:
        """``route`` says at which address the bridge of an account is; what is about none has the empty name."""
        self._route = route
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.port = 0
        self.answers: dict[tuple[str, str], Answer] = {}
        """What is answered here, by method and account."""
        self.seen: list[Seen] = []
        self.before: Callable[[Seen], Awaitable[None]] = at_once
        """What happens before a call is passed on."""
        self._delays: dict[tuple[str, str], Delayed] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, methods: Sequence[str], account: str, answer: Answer) -> None:
        """From now on these methods of this account are answered here."""
        self.answers |= {(method, account): answer for method in methods}

    def delay(self, method: str, account: str) -> Delayed:
        """The next such call does not arrive until it is delivered."""
        return self._delays.setdefault((method, account), Delayed())

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(handlers=[self])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)
        for channel in self._channels.values():
            await channel.close()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method

        async def serve(request: bytes, context: Context) -> bytes:
            return await self._pass_on(path, request, context)

        return grpc.unary_unary_rpc_method_handler(serve)

    async def _pass_on(self, path: str, request: bytes, context: Context) -> bytes:
        metadata = dict(context.invocation_metadata())
        account = metadata.get(ACCOUNT_HEADER, "")
        method = path.rpartition("/")[2]
        seen = Seen(method, account, context.peer(), request)
        self.seen.append(seen)
        try:
            return await self._answer(path, seen, context)
        finally:
            seen.over = monotonic()

    async def _answer(self, path: str, seen: Seen, context: Context) -> bytes:
        method, account, request = seen.method, seen.account, seen.request
        await self.before(seen)
        if answer := self.answers.get((method, account)):
            await context.abort(answer.code, "made by a relay", answer.trailers)
        if delayed := self._delays.pop((method, account), None):
            delayed.path, delayed.request = path, request
            delayed.arrived.set()
            await asyncio.Event().wait()  # until its caller gives up
        call: Any = self._channel(self._route(account)).unary_unary(path)
        try:
            response: bytes = await call(request, timeout=context.time_remaining())
        except AioRpcError as error:
            await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            raise
        return response

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
            self._channels[address] = grpc.aio.insecure_channel(address, options=options)
        return self._channels[address]
