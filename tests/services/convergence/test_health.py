"""GetBridgeHealth says in a moment how the bridge is, whatever it does: two processes, one of them at a halt."""

import signal
from collections.abc import AsyncIterator
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.database.url import DatabaseUrl
from tests.services.convergence.stage import Stage, until_reachable
from tests.support.probe import plain_channel
from tests.support.service_process import PATIENCE, StartService, raw_url

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

CALLS = 30
MOMENT = 0.1
# Far less than KeyService gives the bridge here, whatever else the machine does.
NOT_AS_LONG_AS_THE_BRIDGE = 2.0
WAIT = "10s"


@pytest.fixture
async def stage(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[Stage]:
    async with Stage.on(raw_url(database_url), start_service) as stage:
        await stage.start_bridge()
        yield stage


async def looks(stub: "KeyServiceAsyncStub") -> set[tuple[bool, str]]:
    """Ask often; what was said, which came in a moment each time."""
    said, seconds = set(), []
    for _ in range(CALLS):
        begun = monotonic()
        health = await stub.GetBridgeHealth(pb.GetBridgeHealthRequest(), timeout=PATIENCE)
        seconds.append(monotonic() - begun)
        said.add((health.reachable, health.warning.rpartition("(")[2].partition(")")[0]))
    assert median(seconds) < MOMENT
    assert max(seconds) < NOT_AS_LONG_AS_THE_BRIDGE
    return said


async def test_whatever_the_bridge_does_its_health_is_told_in_a_moment(stage: Stage) -> None:
    service = await stage.start_keyservice(stage.bridge_address, KEYSERVICE_INLINE_BRIDGE_WAIT=WAIT)
    async with plain_channel(service.port) as channel:
        stub = KeyServiceStub(channel)
        await until_reachable(stub)
        assert await looks(stub) == {(True, "")}

        assert stage.bridge is not None
        stage.bridge.terminate(signal.SIGSTOP)
        assert await looks(stub) == {(False, "BRIDGE_TIMEOUT")}
        stage.bridge.terminate(signal.SIGCONT)
        await until_reachable(stub)

        await stage.kill_bridge()
        assert await looks(stub) == {(False, "BRIDGE_UNAVAILABLE")}
