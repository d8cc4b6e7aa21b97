"""What health says, of whom, and when."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from servicekit.rpc.binding import Service
from servicekit.rpc.server import Server
from tests.support.probe import PROBE, Probe, failure, plain_channel, quick, serving

NOT_SERVING, SERVING = HealthCheckResponse.NOT_SERVING, HealthCheckResponse.SERVING
NAMES = ["", "keybridge.probe.v1.Probe"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_is_not_serving_until_it_is_declared_so(name: str) -> None:
    server = Server([Service(PROBE, Probe())], quick())
    await server.start()
    async with plain_channel(server.port) as channel:
        stub: Any = HealthStub(channel)
        assert (await stub.Check(HealthCheckRequest(service=name))).status == NOT_SERVING
        await server.set_serving()
        assert (await stub.Check(HealthCheckRequest(service=name))).status == SERVING
    await server.stop()


async def test_an_unknown_service_is_not_found() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        stub: Any = HealthStub(channel)
        error = await failure(stub.Check(HealthCheckRequest(service="nobody")))
        watch = stub.Watch(HealthCheckRequest(service="nobody"))
        assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()

    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_every_service_is_listed() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        stub: Any = HealthStub(channel)
        answer = await stub.List(HealthListRequest())

    assert {name: each.status for name, each in answer.statuses.items()} == dict.fromkeys(NAMES, SERVING)


async def test_a_watcher_hears_every_change_and_does_not_hold_up_the_stop() -> None:
    server = Server([Service(PROBE, Probe())], quick(shutdown_grace=timedelta(seconds=60)))
    await server.start()
    async with plain_channel(server.port) as channel:
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest())
        assert (await watch.read()).status == NOT_SERVING
        await server.set_serving()
        assert (await watch.read()).status == SERVING
        async with asyncio.timeout(20):  # less than the grace
            await server.stop()
            assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF


async def test_what_has_ended_is_never_serving_again() -> None:
    server = Server([Service(PROBE, Probe())], quick())
    await server.start()
    async with plain_channel(server.port) as channel:
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest())
        await watch.read()
        stopping = asyncio.ensure_future(server.stop())
        await server.draining.wait()
        await server.set_serving()
        await stopping
        assert await watch.read() is grpc.aio.EOF
