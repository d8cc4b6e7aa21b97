"""A service that is told to stop answers all that it has begun."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from servicekit.rpc.client import Channel, connect
from servicekit.rpc.status import from_rpc_error
from tests.support.probe import PROBE, Echo, ProbeStub, eventually, failure, plain_channel
from tests.support.service_process import StartService

CALLS, CALLERS, CONNECTIONS = 100, 40, 10


def watched(channel: grpc.aio.Channel) -> Any:
    """The health of whichever worker is at the other end."""
    stub: Any = HealthStub(channel)
    return stub.Watch(HealthCheckRequest(service=PROBE.full_name), timeout=60)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_signal_during_a_hundred_calls_loses_none_of_them(
    start_service: StartService, tmp_path: Path, workers: int
) -> None:
    begun = tmp_path / "begun"
    begun.touch()
    process = start_service(
        "tests.support.probe_service", "--workers", str(workers), PROBE_BEGUN=str(begun)
    ).wait_ready()
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(plain_channel(process.port)) for _ in range(CONNECTIONS)]
        stubs = [ProbeStub(channel) for channel in channels]
        calls = [
            asyncio.ensure_future(stubs[number % CONNECTIONS].GetEcho(Echo(text=str(number)), timeout=60))
            for number in range(CALLS)
        ]
        await eventually(lambda: len(begun.read_text().splitlines()) == CALLS, "all were being served", 30)
        # On each connection: it may be to a worker that hears of the end later than the others.
        watches = [watched(channel) for channel in channels]
        for watch in watches:
            assert (await watch.read()).status == HealthCheckResponse.SERVING

        process.terminate()
        for watch in watches:
            assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
        for stub in stubs:
            late = from_rpc_error(await failure(stub.GetEcho(Echo(text="late"), timeout=60)))
            assert (late.code, late.reason) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert not any(call.done() for call in calls)
        for pid in set(map(int, begun.read_text().split())):
            os.kill(pid, signal.SIGUSR1)

        answers = await asyncio.gather(*calls)
    assert [each.text for each in answers] == [str(number) for number in range(CALLS)]
    assert await asyncio.to_thread(process.status) == 0
    assert '"code": "CANCELLED"' not in "\n".join(await asyncio.to_thread(process.errors))
    assert len(begun.read_text().splitlines()) == CALLS


async def test_a_signal_while_calls_keep_coming_cancels_none_of_them(
    start_service: StartService, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    begun.touch()
    variables = {"PROBE_BEGUN": str(begun), "PROBE_SERVICE_SHUTDOWN_GRACE": "100s"}
    process = start_service("tests.support.probe_service", **variables).wait_ready()
    os.kill(process.pid, signal.SIGUSR1)  # every call is answered at once
    outcomes: Counter[tuple[StatusCode, str | None]] = Counter()

    async def read_until_refused_by_the_system(channel: Channel) -> None:
        stub = ProbeStub(channel)
        while outcomes[StatusCode.UNAVAILABLE, None] < CALLERS:
            try:
                await stub.GetEcho(Echo(), timeout=30)
                outcomes[StatusCode.OK, None] += 1
            except AioRpcError as error:
                outcomes[error.code(), from_rpc_error(error).reason] += 1

    async with AsyncExitStack() as stack:
        # As long as one call goes on, gRPC itself is not stopped: what arrives then is answered with CANCELLED.
        stub = ProbeStub(await stack.enter_async_context(plain_channel(process.port)))
        one = asyncio.ensure_future(stub.GetEcho(Echo(text="stays"), timeout=100))
        await eventually(lambda: begun.read_text() != "", "one call was being served", 30)
        channels = [
            await stack.enter_async_context(connect(process.address, PROBE)) for _ in range(CONNECTIONS)
        ]
        callers = [
            asyncio.create_task(read_until_refused_by_the_system(channels[number % CONNECTIONS]))
            for number in range(CALLERS)
        ]
        await eventually(lambda: outcomes[StatusCode.OK, None] > 5 * CALLERS, "calls were coming", 30)
        process.terminate()
        told = (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        await eventually(lambda: outcomes[told] > CALLERS, "calls were told to go elsewhere", 60)
        assert set(outcomes) == {(StatusCode.OK, None), told}
        os.kill(process.pid, signal.SIGUSR2)
        assert (await one).text == "stays"
        await asyncio.gather(*callers)
    assert {code for code, _ in outcomes} <= {StatusCode.OK, StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
    assert {reason for _, reason in outcomes} <= {None, "SHUTTING_DOWN"}
    assert await asyncio.to_thread(process.status) == 0
    assert '"code": "CANCELLED"' not in "\n".join(await asyncio.to_thread(process.errors))


async def test_calls_that_outlast_the_grace_are_ended_and_the_exit_is_clean(
    start_service: StartService, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    begun.touch()
    variables = {"PROBE_BEGUN": str(begun), "PROBE_SERVICE_SHUTDOWN_GRACE": "100ms"}
    process = start_service("tests.support.probe_service", **variables).wait_ready()
    async with plain_channel(process.port) as channel:
        call = ProbeStub(channel).GetEcho(Echo(), timeout=60)
        await eventually(lambda: begun.read_text() != "", "it was being served", 30)
        process.terminate()
        ended = await call.code()
    assert ended.name in ("UNAVAILABLE", "CANCELLED")
    assert await asyncio.to_thread(process.status) == 0
    assert "Traceback" not in "\n".join(await asyncio.to_thread(process.errors))
