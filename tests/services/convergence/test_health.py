"""GetBridgeHealth says how the bridge is in a moment, whatever the bridge does: two processes, one at a halt.

How late the latest answers are is measured by ``benchmarks.bridge_health``, with nothing else on the machine.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from statistics import median, mode
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

CALLS = 50
MOMENT = 0.1
# So long KeyService gives the bridge: whoever had to wait for that would not be answered in time here.
WAIT = f"{2 * PATIENCE:g}s"

Said = tuple[bool, str]
"""Whether the bridge is reachable, and the reason why not."""


@pytest.fixture
async def stage(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[Stage]:
    async with Stage.on(raw_url(database_url), start_service) as stage:
        await stage.start_bridge()
        yield stage


async def look(stub: "KeyServiceAsyncStub") -> Said:
    health = await stub.GetBridgeHealth(pb.GetBridgeHealthRequest(), timeout=PATIENCE)
    return health.reachable, health.warning.rpartition("(")[2].partition(")")[0]


async def require_said(stub: "KeyServiceAsyncStub", wanted: Said) -> None:
    """It is noticed, and then said: in a moment, wherever the machine lets those concerned have theirs.

    Where it does not, an answer is late, and so is one of the bridge: that one is then told as a timeout.
    """
    async with asyncio.timeout(PATIENCE):
        while await look(stub) != wanted:
            pass
    said, seconds = [], []
    for _ in range(CALLS):
        begun = monotonic()
        said.append(await look(stub))
        seconds.append(monotonic() - begun)
    assert mode(said) == wanted, said
    assert median(seconds) < MOMENT, seconds


async def test_whatever_the_bridge_does_its_health_is_told_in_a_moment(stage: Stage) -> None:
    service = await stage.start_keyservice(stage.bridge_address, KEYSERVICE_INLINE_BRIDGE_WAIT=WAIT)
    async with plain_channel(service.port) as channel:
        stub = KeyServiceStub(channel)
        await until_reachable(stub)
        await require_said(stub, (True, ""))

        assert stage.bridge is not None
        stage.bridge.terminate(signal.SIGSTOP)
        await require_said(stub, (False, "BRIDGE_TIMEOUT"))
        stage.bridge.terminate(signal.SIGCONT)
        await until_reachable(stub)

        await stage.kill_bridge()
        await require_said(stub, (False, "BRIDGE_UNAVAILABLE"))
