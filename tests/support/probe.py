"""A small contract of our own, made at run time, with a servicer that does what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from servicekit import startup
from servicekit.rpc.binding import Service
from servicekit.rpc.call import Call
from servicekit.rpc.interceptors import Authorizer
from servicekit.rpc.server import Server, ServerOptions
from servicekit.v1 import policy_pb2
from tests.support.probe_service import ProbeServiceSettings

FIELD = descriptor_pb2.FieldDescriptorProto


def make_contract(
    package: str,
    methods: Iterable[tuple[str, bool, bool]],
    *,
    roles: Iterable[int] = (policy_pb2.ROLE_READER,),
) -> ServiceDescriptor:
    """A contract of its own package: each method has a name, and may stream on either side."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}/probe.proto",
        package=package,
        syntax="proto3",
        dependency=["servicekit/v1/policy.proto"],
    )
    message = file.message_type.add(name="Echo")
    for number, (name, kind) in enumerate(
        [("text", FIELD.TYPE_STRING), ("number", FIELD.TYPE_INT64), ("data", FIELD.TYPE_BYTES)], start=1
    ):
        message.field.add(name=name, number=number, type=kind, label=FIELD.LABEL_OPTIONAL)
    message.field.add(
        name="children",
        number=4,
        type=FIELD.TYPE_MESSAGE,
        type_name=f".{package}.Echo",
        label=FIELD.LABEL_REPEATED,
    )
    service = file.service.add(name="Probe")
    for name, client_streaming, server_streaming in methods:
        method = service.method.add(
            name=name,
            input_type=f".{package}.Echo",
            output_type=f".{package}.Echo",
            client_streaming=client_streaming,
            server_streaming=server_streaming,
        )
        options: Any = method.options  # its stub does not know extensions of ours
        options.Extensions[policy_pb2.allowed_roles].extend(roles)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(f"{package}.Probe")


PROBE = make_contract(
    "keybridge.probe.v1",
    [
        ("GetEcho", False, False),
        ("AddEcho", False, False),
        ("WatchEcho", False, True),
        ("SendEchoes", True, False),
        ("TalkEcho", True, True),
        ("GetNothing", False, False),
    ],
)
Echo: Any = GetMessageClass(PROBE.methods_by_name["GetEcho"].input_type)

Answer = Callable[[Any, Call], Awaitable[Any]]


async def echo(request: Any, call: Call) -> Any:
    """What the probe does unless it is told otherwise."""
    return Echo(text=request.text)


@dataclass
class Probe:
    """The servicer: unary methods do as ``answer`` does, and what was seen is remembered."""

    answer: Answer = echo
    seen: list[Call] = field(default_factory=list)

    async def GetEcho(self, request: Any, call: Call) -> Any:  # noqa: N802
        self.seen.append(call)
        return await self.answer(request, call)

    async def AddEcho(self, request: Any, call: Call) -> Any:  # noqa: N802
        self.seen.append(call)
        return await self.answer(request, call)

    async def WatchEcho(self, request: Any, call: Call) -> AsyncIterator[Any]:  # noqa: N802
        self.seen.append(call)
        while True:
            yield await self.answer(request, call)

    async def SendEchoes(self, requests: AsyncIterator[Any], _call: Call) -> Any:  # noqa: N802
        return Echo(text="".join([request.text async for request in requests]))

    async def TalkEcho(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            yield await self.answer(request, call)


class ProbeStub:
    """What the generator would have made."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        for method in PROBE.methods:
            sides = (method.client_streaming, method.server_streaming)
            make = getattr(channel, "_".join("stream" if streams else "unary" for streams in sides))
            path = f"/{PROBE.full_name}/{method.name}"
            setattr(self, method.name, make(path, Echo.SerializeToString, Echo.FromString))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@asynccontextmanager
async def serving(
    probe: object | None = None,
    options: ServerOptions | None = None,
    *,
    metrics: Any = None,
    authorizer: Authorizer | None = None,
) -> AsyncIterator[Server]:
    """A server of the probe on a free port of the loopback, declared serving."""
    service = Service(PROBE, probe or Probe())
    options = options or quick()
    server = Server([service], options, metrics=metrics, authorizer=authorizer)
    await server.start()
    await server.set_serving()
    try:
        yield server
    finally:
        await server.stop()


def quick(**changes: Any) -> ServerOptions:
    """Options of a server that a test can stop at once, and call as often at a time as it likes; the others as the
    settings have them.
    """
    options = startup.server_options(ProbeServiceSettings(), shares_port=False)
    own: dict[str, Any] = {
        "shutdown_grace": timedelta(seconds=1),
        "reflection": False,
        "max_concurrent_streams": 10_000,
    }
    return replace(options, **own | changes)


@asynccontextmanager
async def plain_channel(port: int, *options: tuple[str, Any]) -> AsyncIterator[grpc.aio.Channel]:
    """gRPC's own channel, which adds nothing of ours."""
    local = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[local, *options]) as channel:
        yield channel


def raw_call(channel: grpc.aio.Channel, path: str, raw: bytes) -> Awaitable[Any]:
    """Any bytes to any method, whatever the contract says."""
    make: Any = channel.unary_unary(path)
    return make(raw)  # type: ignore[no-any-return]


async def failure(awaited: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error that a call ends with; it must end with one."""
    try:
        answer = await awaited
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call succeeded with {answer!r}")


async def eventually(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait until something is so, and fail by name when it does not become so."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition has no event of its own
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it never came about that {what}") from None
