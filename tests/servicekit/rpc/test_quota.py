"""What one caller may use: calls a second, calls and streams at once, and that only he is held to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.errors import ResourceExhausted
from servicekit.rpc import failures, quota
from servicekit.rpc.call import Call, Method
from servicekit.rpc.policy import PUBLIC, Policy
from servicekit.rpc.principal import Principal
from servicekit.rpc.quota import Limits, Quota, Usage
from servicekit.rpc.server import Server
from servicekit.rpc.status import RpcFailure, from_rpc_error
from servicekit.v1 import policy_pb2
from tests.support.clock import Clock
from tests.support.probe import Echo, Probe, ProbeStub, eventually, failure, plain_channel, quick, serving

UNARY = Method("a.B", "Get", PUBLIC, full="/a.B/Get")
STREAM = Method("a.B", "Watch", PUBLIC, unary=False, full="/a.B/Watch")
PROBED = Method("health", "Check", PUBLIC, full="/health/Check")


@dataclass
class Door:
    """A quota with a clock of its own, and callers who come to it."""

    limits: Limits
    strangers: bool = True
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.quota = Quota(self.limits, frozenset({"health"}), strangers=self.strangers, clock=self.clock)

    def call(
        self,
        name: str | None = "alice",
        *,
        role: policy_pb2.Role = policy_pb2.ROLE_READER,
        peer: str = "ipv4:192.0.2.1:50000",
        method: Method = UNARY,
    ) -> Call:
        context: Any = SimpleNamespace(peer=lambda: peer)
        return Call(method, context, principal=Principal(name, role, None) if name else None)

    async def passes(self, call: Call) -> bool:
        """Whether a call that takes no time is let through."""
        return await self.refusal(call) is None

    async def refusal(self, call: Call) -> ResourceExhausted | None:
        try:
            async with self.quota.around(call):
                return None
        except ResourceExhausted as refused:
            return refused

    async def passed(self, count: int, call: Call) -> int:
        """How many of so many calls are let through."""
        return sum([await self.passes(call) for _ in range(count)])


def limits(**changes: Any) -> Limits:
    return Limits(**{"rate": 0, "burst": 1, "calls": 0, "streams": 0} | changes)


async def test_a_burst_passes_and_then_so_many_a_second_and_no_more() -> None:
    door = Door(limits(rate=10, burst=5))
    assert await door.passed(50, door.call()) == 5
    for _ in range(100):
        door.clock.now += 0.05
        await door.passes(door.call())
        await door.passes(door.call())
    # In those five seconds 50 more were due, whatever was refused in between.
    door.clock.now += 0.1
    assert await door.passed(50, door.call()) == 1
    door.clock.now += 3600
    assert await door.passed(50, door.call()) == 5


async def test_in_the_long_run_exactly_the_rate_passes_however_much_is_asked_for() -> None:
    door = Door(limits(rate=10, burst=5))
    passed = 0
    for _ in range(1000):
        passed += await door.passed(3, door.call())
        door.clock.now += 0.01
    assert passed == 5 + 10 * 10 - 1


async def test_a_refusal_says_when_there_is_a_turn_and_then_there_is_one() -> None:
    door = Door(limits(rate=4, burst=2))
    assert await door.passed(2, door.call()) == 2
    refused = await door.refusal(door.call())
    assert refused is not None
    assert (refused.reason, refused.retry_after) == ("RATE_EXCEEDED", timedelta(milliseconds=250))
    door.clock.now += 0.249
    assert not await door.passes(door.call())
    door.clock.now += 0.001
    assert await door.passes(door.call())


async def test_what_one_uses_up_is_not_missing_to_another_nor_to_the_same_name_at_an_address() -> None:
    door = Door(limits(rate=1, burst=3))
    assert await door.passed(10, door.call("alice")) == 3
    assert await door.passed(10, door.call("bob")) == 3
    assert await door.passed(10, door.call(None, peer="ipv4:192.0.2.1:1")) == 3
    assert await door.passed(10, door.call(None, peer="ipv4:192.0.2.1:2")) == 0
    assert await door.passed(10, door.call(None, peer="ipv6:%5B2001:db8::1%5D:1")) == 3
    assert await door.passed(10, door.call("ipv6:%5B2001:db8::2%5D")) == 3


async def test_without_limits_for_strangers_only_principals_are_held_to_any() -> None:
    door = Door(limits(rate=1, burst=1, calls=1), strangers=False)
    assert await door.passed(10, door.call(None)) == 10
    assert await door.passed(10, door.call("alice")) == 1


async def test_the_bridge_writer_is_not_limited() -> None:
    door = Door(limits(rate=1, burst=1, calls=1, streams=1))
    writer = door.call("keyservice", role=policy_pb2.ROLE_BRIDGE_WRITER)
    assert await door.passed(10_000, writer) == 10_000
    for role in (policy_pb2.ROLE_READER, policy_pb2.ROLE_OPERATOR, policy_pb2.ROLE_ADMIN):
        assert await door.passed(10, door.call(f"somebody with {role}", role=role)) == 1


async def test_a_probe_passes_while_its_caller_is_in_haste() -> None:
    door = Door(limits(rate=1, burst=1))
    assert await door.passed(10, door.call()) == 1
    assert await door.passed(10, door.call(method=PROBED)) == 10


@pytest.mark.parametrize(
    ("method", "reason"), [(UNARY, "TOO_MANY_CALLS_OF_ONE"), (STREAM, "TOO_MANY_STREAMS_OF_ONE")]
)
async def test_so_many_at_once_and_no_more_and_each_that_ends_makes_room(method: Method, reason: str) -> None:
    door = Door(limits(calls=2, streams=2))
    one, other = door.quota.around(door.call(method=method)), door.quota.around(door.call(method=method))
    await one.__aenter__()
    async with other:
        refused = await door.refusal(door.call(method=method))
        assert refused is not None
        assert (refused.reason, refused.retry_after) == (reason, timedelta(seconds=1))
        # Calls and streams are counted apart, and so is everybody else.
        assert await door.passes(door.call(method=STREAM if method is UNARY else UNARY))
        assert await door.passes(door.call("bob", method=method))
    assert await door.passes(door.call(method=method))
    await one.__aexit__(ValueError, ValueError(), None)
    async with door.quota.around(door.call(method=method)):
        assert await door.passes(door.call(method=method))


async def test_a_refused_call_takes_no_token_and_no_place() -> None:
    door = Door(limits(rate=1, burst=3, calls=1))
    async with door.quota.around(door.call()):
        assert await door.passed(10, door.call()) == 0
    assert await door.passed(10, door.call()) == 2


async def test_of_many_refusals_each_is_held_back_until_its_turn_and_none_for_longer_than_five_seconds() -> (
    None
):
    door = Door(limits(rate=1, burst=1))

    async def held_back(name: str = "alice") -> float:
        call = door.call(name)
        assert not await door.passes(call)
        return call.held_back

    for name in ("alice", "bob"):
        assert await door.passes(door.call(name))
    assert [await held_back() for _ in range(4)] == pytest.approx([0, 0.01, 0.02, 0.03])
    assert await held_back("bob") == 0
    door.clock.now += 0.015
    assert await held_back() == pytest.approx(0.025)
    for _ in range(1000):
        await held_back()
    assert await held_back() == 5
    # Who passes is held back by nothing that he heard before, and after some silence is told at once again.
    door.clock.now += 1
    served = door.call()
    assert await door.passes(served)
    assert served.held_back == 0
    door.clock.now += 4.1
    assert await door.passes(door.call())
    assert await held_back() == 0


def test_who_was_refused_is_remembered_until_he_may_hear_the_next_refusal() -> None:
    used = Usage(now=1000.0)
    assert used.is_idle(1000.0)
    used.take_turn(1000.0)
    assert [used.is_idle(now) for now in (1000.0, 1000.02)] == [False, True]


async def test_who_is_quiet_is_forgotten_and_who_is_not_is_not() -> None:
    door = Door(limits(rate=10, burst=10, streams=1))
    async with door.quota.around(door.call("watcher", method=STREAM)):
        for number in range(100_000):
            door.clock.now += 0.0001
            assert await door.passes(door.call(f"caller {number}"))
        # Each is remembered for a tenth of a second, in which a thousand come.
        assert door.quota.remembered <= 4000
        assert not await door.passes(door.call("watcher", method=STREAM))


class Trusting:
    """Takes callers for whom they say they are."""

    async def authorize(self, call: Call, _policy: Policy, /) -> Principal | None:
        return Principal(call.header("x-name") or "nobody", policy_pb2.ROLE_READER, None)


@asynccontextmanager
async def limited(probe: Probe, **changes: Any) -> AsyncIterator[tuple[Server, ProbeStub]]:
    options = quick(limits=limits(**changes))
    async with (
        serving(probe, options, authorizer=Trusting()) as server,
        plain_channel(server.port) as channel,
    ):
        yield server, ProbeStub(channel)


async def told(call: Any) -> RpcFailure:
    return from_rpc_error(await failure(call))


def named(name: str) -> Any:
    return (("x-name", name),)


async def test_on_the_wire_a_principal_over_its_rate_is_told_when_to_come_again_and_another_is_served() -> (
    None
):
    probe = Probe()
    async with limited(probe, rate=0.01, burst=2) as (_, stub):
        for _ in range(2):
            await stub.GetEcho(Echo(), metadata=named("greedy"))
        refused = await told(stub.GetEcho(Echo(), metadata=named("greedy")))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_EXCEEDED")
        assert refused.retry_after is not None
        assert timedelta(seconds=90) < refused.retry_after <= timedelta(seconds=100)
        await stub.GetEcho(Echo(), metadata=named("other"))
    assert len(probe.seen) == 3


async def test_on_the_wire_calls_whose_request_never_comes_count_as_under_way() -> None:
    async with limited(Probe(), calls=2) as (server, stub), plain_channel(server.port) as channel:
        # To the client these are streams, so that it begins them without a message.
        make: Any = channel.stream_unary("/keybridge.probe.v1.Probe/GetEcho")
        never = asyncio.Event()

        async def nothing() -> AsyncIterator[bytes]:
            await never.wait()
            yield b""

        held = [make(nothing(), metadata=named("slow")) for _ in range(2)]
        admission: Any = server.chain.admission
        await eventually(lambda: admission.serving == 2, "both calls were counted")
        assert (await told(stub.GetEcho(Echo(), metadata=named("slow")))).reason == "TOO_MANY_CALLS_OF_ONE"
        await stub.GetEcho(Echo(), metadata=named("other"))
        for call in held:
            call.cancel()
        await eventually(lambda: admission.serving == 0, "their places were free")
        await stub.GetEcho(Echo(), metadata=named("slow"))


async def test_on_the_wire_streams_are_counted_apart_and_health_is_not_refused() -> None:
    async with limited(Probe(), rate=0.01, burst=3, streams=1) as (server, stub):
        watch = stub.WatchEcho(Echo(), metadata=named("watcher"))
        await watch.read()
        another = stub.WatchEcho(Echo(), metadata=named("watcher"))
        assert (await told(another.read())).reason == "TOO_MANY_STREAMS_OF_ONE"
        for _ in range(2):
            await stub.GetEcho(Echo(), metadata=named("watcher"))
        assert (await told(stub.GetEcho(Echo(), metadata=named("watcher")))).reason == "RATE_EXCEEDED"
        async with plain_channel(server.port) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for _ in range(10):
                await health.Check(health_pb2.HealthCheckRequest(), metadata=named("watcher"))
        watch.cancel()


@pytest.fixture
def slow_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is told at once, and the next ones not as long as a test takes."""
    monkeypatch.setattr(quota, "_BETWEEN_REFUSALS", 60.0)
    monkeypatch.setattr(quota, "_LATEST_REFUSAL", 60.0)


async def begin_to_refuse(
    server: Server, stub: ProbeStub, name: str = "greedy"
) -> "asyncio.Task[RpcFailure]":
    """A call whose refusal is held back by now."""
    held = asyncio.create_task(told(stub.GetEcho(Echo(), metadata=named(name))))
    errors: Any = server.chain.errors
    before = errors.held_back
    await eventually(lambda: errors.held_back == before + 1, "the refusal was held back")
    return held


@pytest.mark.usefixtures("slow_refusals")
async def test_on_the_wire_a_refusal_that_is_held_back_takes_no_place_and_nobody_else_waits_for_it() -> None:
    probe = Probe()
    async with limited(probe, rate=0.01, burst=1, calls=1) as (server, stub):
        await stub.GetEcho(Echo(), metadata=named("greedy"))
        assert (await told(stub.GetEcho(Echo(), metadata=named("greedy")))).reason == "RATE_EXCEEDED"
        held = await begin_to_refuse(server, stub)
        admission: Any = server.chain.admission
        assert admission.serving == 0
        await stub.GetEcho(Echo(), metadata=named("other"))
        assert (await told(stub.GetEcho(Echo(), metadata=named("other")))).reason == "RATE_EXCEEDED"
        assert not held.done()
        held.cancel()


@pytest.mark.usefixtures("slow_refusals")
async def test_on_the_wire_a_refusal_that_is_held_back_is_told_when_the_server_stops() -> None:
    async with limited(Probe(), rate=0.01, burst=1) as (server, stub):
        await stub.GetEcho(Echo(), metadata=named("greedy"))
        assert (await told(stub.GetEcho(Echo(), metadata=named("greedy")))).reason == "RATE_EXCEEDED"
        held = await begin_to_refuse(server, stub)
        await server.stop()
        assert (await held).reason == "RATE_EXCEEDED"


@pytest.mark.usefixtures("slow_refusals")
async def test_on_the_wire_a_refusal_is_told_while_its_caller_still_listens() -> None:
    async with limited(Probe(), rate=0.01, burst=1) as (_, stub):
        await stub.GetEcho(Echo(), metadata=named("greedy"))
        for _ in range(2):
            refused = await told(stub.GetEcho(Echo(), metadata=named("greedy"), timeout=5))
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_EXCEEDED")


@pytest.mark.usefixtures("slow_refusals")
async def test_on_the_wire_only_so_many_refusals_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_MOST_HELD_BACK", 1)
    async with limited(Probe(), rate=0.01, burst=1) as (server, stub):
        await stub.GetEcho(Echo(), metadata=named("greedy"))
        await told(stub.GetEcho(Echo(), metadata=named("greedy")))
        held = await begin_to_refuse(server, stub)
        async with asyncio.timeout(20):  # a shorter time than it would be held back for
            assert (await told(stub.GetEcho(Echo(), metadata=named("greedy")))).reason == "RATE_EXCEEDED"
        held.cancel()
        errors: Any = server.chain.errors
        await eventually(lambda: errors.held_back == 0, "nobody waited any more")
        (await begin_to_refuse(server, stub)).cancel()
