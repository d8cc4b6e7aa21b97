"""The links of the chain: request id, admission, authorisation, deadline, and their order."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from servicekit.errors import PermissionDenied, StartupError
from servicekit.rpc import interceptors
from servicekit.rpc.call import Call
from servicekit.rpc.interceptors import Chain
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.rpc.server import Server
from servicekit.rpc.status import from_rpc_error
from servicekit.v1 import policy_pb2
from tests.support.probe import Echo, Probe, ProbeStub, eventually, failure, plain_channel, quick, serving


async def returned_id(sent: str | None) -> tuple[str, Any]:
    """The request id that comes back, and the one in the log's context while the call was served."""
    bound: dict[str, Any] = {}

    async def answer(request: Any, call: Call) -> Any:
        bound.update(structlog.contextvars.get_contextvars())
        return Echo()

    metadata = (("x-request-id", sent),) if sent is not None else ()
    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        call = ProbeStub(channel).GetEcho(Echo(), metadata=metadata)
        await call
        return dict(await call.trailing_metadata())["x-request-id"], bound["request_id"]


@pytest.mark.parametrize("sane", ["r-1", "0af7651916cd43dd8448eb211c80319c", "x" * 128])
async def test_a_sane_request_id_is_kept_bound_and_returned(sane: str) -> None:
    assert await returned_id(sane) == (sane, sane)


@pytest.mark.parametrize("odd", [None, "", "x" * 129, "two words", 'quote"d'])
async def test_a_missing_or_odd_request_id_is_replaced(odd: str | None) -> None:
    returned, bound = await returned_id(odd)

    assert UUID(returned).version == 4
    assert bound == returned


async def test_a_stream_tells_its_request_id_at_once() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        call = ProbeStub(channel).WatchEcho(Echo(), metadata=(("x-request-id", "r-1"),))
        assert dict(await call.initial_metadata())["x-request-id"] == "r-1"
        call.cancel()


class Gate:
    """Handlers that wait until they are let go."""

    def __init__(self) -> None:
        self.waiting = 0
        self.open = asyncio.Event()

    async def answer(self, _request: Any, _call: Call) -> Any:
        self.waiting += 1
        await self.open.wait()
        return Echo()


async def test_what_is_beyond_the_limit_is_refused_at_once_and_health_is_not() -> None:
    gate = Gate()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(Probe(gate.answer), quick(max_concurrent_rpcs=2)))
        channel = await stack.enter_async_context(plain_channel(server.port))
        stub = ProbeStub(channel)
        held = [asyncio.ensure_future(stub.GetEcho(Echo())) for _ in range(2)]
        await eventually(lambda: gate.waiting == 2, "two calls were being served")

        told = from_rpc_error(await failure(stub.GetEcho(Echo())))
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert told.retry_after == timedelta(seconds=1)
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

        gate.open.set()
        await asyncio.gather(*held)
        await stub.GetEcho(Echo())


async def test_streams_that_are_open_to_everybody_leave_room_for_those_who_say_who_they_are() -> None:
    """And those of reflection leave room for the watches of a balancer."""
    options = quick(max_concurrent_rpcs=6, max_public_streams=3, reflection=True)
    async with serving(Probe(), options) as server, plain_channel(server.port) as channel:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        admission: Any = server.chain.admission
        silent = [reflection.ServerReflectionInfo() for _ in range(3)]
        await eventually(lambda: admission.serving == 3, "three were open")
        more = [reflection.ServerReflectionInfo() for _ in range(10)]
        refused = [from_rpc_error(await failure(each.read())) for each in more]
        assert {(told.code, told.reason) for told in refused} == {
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_PUBLIC_STREAMS")
        }
        await ProbeStub(channel).GetEcho(Echo())
        health: Any = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        one_more = health.Watch(health_pb2.HealthCheckRequest())
        assert from_rpc_error(await failure(one_more.read())).reason == "TOO_MANY_PUBLIC_STREAMS"
        await health.Check(health_pb2.HealthCheckRequest())
        for stream in (*silent, *watches):
            stream.cancel()
        await eventually(lambda: not any(admission._public.values()), "all places were free")
        await health.Watch(health_pb2.HealthCheckRequest()).read()


async def test_a_cancelled_call_gives_its_place_back() -> None:
    gate = Gate()
    async with (
        serving(Probe(gate.answer), quick(max_concurrent_rpcs=1)) as server,
        plain_channel(server.port) as channel,
    ):
        call = ProbeStub(channel).GetEcho(Echo())
        await eventually(lambda: gate.waiting == 1, "the call was being served")
        call.cancel()
        admission: Any = server.chain.admission
        await eventually(lambda: admission.serving == 0, "its place was free")


async def test_the_authorizer_is_asked_with_the_contract_s_roles_and_names_the_principal() -> None:
    asked: list[Policy] = []

    class Asks:
        async def authorize(self, _call: Call, policy: Policy) -> Principal | None:
            asked.append(policy)
            return Principal("alice", policy_pb2.ROLE_READER, None)

    probe = Probe()
    async with serving(probe, authorizer=Asks()) as server, plain_channel(server.port) as channel:
        await ProbeStub(channel).GetEcho(Echo())

    assert [policy.roles for policy in asked] == [{policy_pb2.ROLE_READER}]
    assert probe.seen[0].principal is not None
    assert probe.seen[0].principal.name == "alice"


async def test_whom_the_authorizer_refuses_never_reaches_the_handler() -> None:
    class Refuses:
        async def authorize(self, _call: Call, _policy: Policy) -> Principal | None:
            raise PermissionDenied("You may not.")

    probe = Probe()
    async with serving(probe, authorizer=Refuses()) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo()))

    assert from_rpc_error(error).reason == "PERMISSION_DENIED"
    assert probe.seen == []


class Asked:
    """Admits as often as it is told to, and then does what a test wants."""

    def __init__(self, times: int, then: BaseException) -> None:
        self.left = times
        self.then = then

    async def authorize(self, _call: Call, _policy: Policy) -> Principal | None:
        self.left -= 1
        if self.left < 0:
            raise self.then
        return Principal("alice", policy_pb2.ROLE_READER, None)


async def quiet(_request: Any, _call: Call) -> Any:
    """A stream that has nothing to say."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("then", "code", "reason"),
    [
        (PermissionDenied("Not any more."), grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (ValueError("nobody foresaw it"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_a_stream_is_ended_once_its_caller_is_no_longer_admitted(
    monkeypatch: pytest.MonkeyPatch, then: BaseException, code: grpc.StatusCode, reason: str
) -> None:
    monkeypatch.setattr(interceptors, "_ASK_AGAIN", timedelta(milliseconds=10))
    asked = Asked(3, then)
    async with serving(Probe(quiet), authorizer=asked) as server, plain_channel(server.port) as channel:
        told = from_rpc_error(await failure(ProbeStub(channel).WatchEcho(Echo()).read()))
    assert (told.code, told.reason) == (code, reason)
    assert asked.left == -1


@pytest.mark.parametrize(
    "changed",
    [
        Principal("alice", policy_pb2.ROLE_READER, frozenset()),
        Principal("alice", policy_pb2.ROLE_ADMIN, None),
        Principal("bob", policy_pb2.ROLE_READER, None),
    ],
    ids=["fewer clients", "another role", "somebody else"],
)
async def test_a_stream_is_ended_once_its_caller_is_granted_something_else(
    monkeypatch: pytest.MonkeyPatch, changed: Principal
) -> None:
    monkeypatch.setattr(interceptors, "_ASK_AGAIN", timedelta(milliseconds=10))
    granted = iter([Principal("alice", policy_pb2.ROLE_READER, None)] * 3)

    class Grants:
        async def authorize(self, _call: Call, _policy: Policy) -> Principal | None:
            return next(granted, changed)

    async with serving(Probe(quiet), authorizer=Grants()) as server, plain_channel(server.port) as channel:
        told = from_rpc_error(await failure(ProbeStub(channel).WatchEcho(Echo()).read()))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "GRANT_CHANGED")
    assert next(granted, None) is None


async def test_a_time_out_of_a_stream_s_own_is_not_taken_for_the_end_of_its_admission() -> None:
    async def fails(_request: Any, _call: Call) -> Any:
        raise TimeoutError

    asked = Asked(1, PermissionDenied("Not any more."))
    async with serving(Probe(fails), authorizer=asked) as server, plain_channel(server.port) as channel:
        told = from_rpc_error(await failure(ProbeStub(channel).WatchEcho(Echo()).read()))
    assert told.reason == "INTERNAL"


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
async def test_a_call_with_too_little_time_left_is_not_begun(method: str) -> None:
    probe = Probe()
    async with (
        serving(probe, quick(deadline_floor=timedelta(seconds=30))) as server,
        plain_channel(server.port) as channel,
    ):
        call = getattr(ProbeStub(channel), method)(Echo(), timeout=20)
        error = await failure(call if method == "GetEcho" else call.read())

    told = from_rpc_error(error)
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
    assert probe.seen == []


async def test_a_unary_call_without_a_deadline_ends_at_the_default() -> None:
    gate = Gate()
    async with (
        serving(Probe(gate.answer), quick(default_deadline=timedelta(milliseconds=100))) as server,
        plain_channel(server.port) as channel,
    ):
        told = from_rpc_error(await failure(ProbeStub(channel).GetEcho(Echo())))

    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "0.1 s" in told.message


async def test_a_stream_without_a_deadline_has_none() -> None:
    probe = Probe()
    async with serving(probe) as server, plain_channel(server.port) as channel:
        call = ProbeStub(channel).WatchEcho(Echo())
        await call.read()
        assert probe.seen[0].time_remaining() is None
        call.cancel()


async def test_a_stream_ends_at_its_age_with_words_that_say_to_call_again() -> None:
    options = quick(max_stream_age=timedelta(milliseconds=100))
    gate = Gate()
    async with serving(Probe(gate.answer), options) as server, plain_channel(server.port) as channel:
        call = ProbeStub(channel).WatchEcho(Echo())
        told = from_rpc_error(await failure(call.read()))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_EXPIRED")
        assert told.retry_after == timedelta(milliseconds=100)

        talk = ProbeStub(channel).TalkEcho()  # and says nothing
        assert from_rpc_error(await failure(talk.read())).reason == "STREAM_EXPIRED"


async def test_a_watch_of_health_has_no_age() -> None:
    options = quick(max_stream_age=timedelta(milliseconds=1))
    async with serving(options=options) as server, plain_channel(server.port) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await server.set_not_serving()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


async def test_a_link_in_another_one_s_place_stops_the_start() -> None:
    chain: Chain = Server([], quick()).chain

    with pytest.raises(StartupError, match="admission stands in the place of errors"):
        chain._replace(errors=chain.admission, admission=chain.errors).check()
    chain.check()
