"""Messages that come late or never: how long they are waited for, and who is still admitted then."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.errors import DeadlineExceeded, PermissionDenied
from servicekit.rpc import messages
from servicekit.rpc.call import Call
from servicekit.rpc.messages import Waits
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.rpc.status import from_rpc_error
from servicekit.v1 import policy_pb2
from tests.support.probe import (
    PROBE,
    Echo,
    Probe,
    ProbeStub,
    eventually,
    failure,
    plain_channel,
    quick,
    serving,
)

LONG = 100 * 3600


def begun(channel: grpc.aio.Channel, name: str, **how: Any) -> Any:
    """A call whose message is withheld: to the client it is a stream."""
    make: Any = channel.stream_stream(f"/{PROBE.full_name}/{name}")
    return make(timeout=LONG, **how)


class Changing:
    """Grants what a test says, which it may change."""

    def __init__(self) -> None:
        self.granted: Principal | None = Principal("alice", policy_pb2.ROLE_READER, None)
        self.asked = 0

    async def authorize(self, _call: Call, _policy: Policy) -> Principal | None:
        self.asked += 1
        if self.granted is None:
            raise PermissionDenied("Not any more.")
        return self.granted


@pytest.mark.parametrize("name", ["GetEcho", "WatchEcho"])
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (None, "PERMISSION_DENIED"),
        (Principal("alice", policy_pb2.ROLE_READER, frozenset()), "GRANT_CHANGED"),
    ],
)
async def test_a_message_that_came_late_is_not_taken_from_who_is_not_admitted_any_more(
    name: str, changed: Principal | None, reason: str
) -> None:
    probe, door = Probe(), Changing()
    async with serving(probe, authorizer=door) as server, plain_channel(server.port) as channel:
        call = begun(channel, name)
        await eventually(lambda: door.asked == 1, "the call was admitted")
        door.granted = changed
        await asyncio.sleep(2 * messages._A_MOMENT)
        await call.write(Echo().SerializeToString())
        assert from_rpc_error(await failure(call.read())).reason == reason
    assert (probe.seen, door.asked) == ([], 2)


async def test_who_sends_his_message_at_once_is_asked_once_and_who_sends_it_late_is_served_too() -> None:
    door = Changing()
    async with serving(authorizer=door) as server, plain_channel(server.port) as channel:
        await ProbeStub(channel).GetEcho(Echo())
        assert door.asked == 1
        call = begun(channel, "GetEcho")
        await eventually(lambda: door.asked == 2, "the call was admitted")
        await asyncio.sleep(2 * messages._A_MOMENT)
        await call.write(Echo(text="late").SerializeToString())
        assert Echo.FromString(await call.read()).text == "late"
        assert door.asked == 3


@pytest.mark.parametrize("name", ["GetEcho", "WatchEcho"])
async def test_a_message_is_not_waited_for_as_long_as_its_caller_likes(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(messages, "_LONGEST", 2 * messages._LONGEST / 100)
    async with serving() as server, plain_channel(server.port) as channel:
        told = from_rpc_error(await failure(begun(channel, name).read()))
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_NOT_SENT")


async def test_a_stranger_holds_few_calls_of_health_and_keeps_nobody_from_asking_for_it() -> None:
    options = quick(max_public_streams=3)
    async with serving(options=options) as server, plain_channel(server.port) as channel:
        make: Any = channel.stream_stream("/grpc.health.v1.Health/Check")
        held = [make(timeout=LONG) for _ in range(20)]
        told = [asyncio.create_task(failure(each.read())) for each in held]
        await eventually(lambda: sum(each.done() for each in told) >= 17, "all but three were ended")
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(5):
            await health.Check(health_pb2.HealthCheckRequest())
        reasons = Counter([from_rpc_error(await each).reason for each in told])
        # The three were among those that made room for who asks, or came to their own end.
        assert reasons.keys() <= {"TOO_MANY_UNSENT_REQUESTS", "REQUEST_NOT_SENT"}
        assert reasons["TOO_MANY_UNSENT_REQUESTS"] >= 17


async def test_calls_whose_message_never_comes_do_not_hold_up_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for longest in ("_LONGEST", "_LONGEST_OF_STRANGERS"):
        monkeypatch.setattr(messages, longest, timedelta(hours=1))
    options = quick(shutdown_grace=timedelta(seconds=60))
    door = Changing()
    async with serving(options=options, authorizer=door) as server, plain_channel(server.port) as channel:
        make: Any = channel.stream_stream("/grpc.health.v1.Health/Check")
        held = [make(timeout=LONG), begun(channel, "WatchEcho"), begun(channel, "GetEcho")]
        await eventually(lambda: door.asked == 3, "all were begun")
        async with asyncio.timeout(20):
            await server.stop()
        assert [from_rpc_error(await failure(each.read())).reason for each in held] == ["SHUTTING_DOWN"] * 3


async def test_each_wait_ends_at_its_own_time_and_those_that_got_what_they_waited_for_go_on() -> None:
    waits, now = Waits(1.0), asyncio.get_running_loop().time
    began = now()
    never = asyncio.Event()

    async def ended_after() -> float:
        with pytest.raises(DeadlineExceeded):
            await waits.until(never.wait())
        return now() - began

    first = asyncio.create_task(ended_after())
    await asyncio.sleep(0.3)
    second = asyncio.create_task(ended_after())
    assert await waits.until(asyncio.sleep(0.1, "got")) == "got"
    assert 0.99 <= await first < await second
    assert await second >= 1.29  # timers may be a little early


async def test_a_time_out_of_what_is_waited_for_is_its_own() -> None:
    async def fails() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await Waits(10).until(fails())
