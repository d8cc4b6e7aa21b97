"""GetBridgeHealth: how the bridge is, in a moment, whatever it does."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from keyservice.v1 import key_service_pb2 as pb
from servicekit.database.url import DatabaseUrl
from tests.support import key_service
from tests.support.bridges import RunningBridge, hangs
from tests.support.key_service import KeyService

PATIENCE = timedelta(seconds=30)


@pytest.fixture
async def service(
    database_url: DatabaseUrl, bridge: RunningBridge, output: io.StringIO
) -> AsyncIterator[KeyService]:
    """It would wait longer for the bridge than anybody here waits for it."""
    async with key_service.running(
        database_url, bridge_target=bridge.target, bridge_wait=2 * PATIENCE
    ) as service:
        await service.add_client()
        yield service


async def look(service: KeyService) -> pb.GetBridgeHealthResponse:
    return await service.stub.GetBridgeHealth(pb.GetBridgeHealthRequest(), timeout=PATIENCE.total_seconds())


async def until(
    service: KeyService, so: Callable[[pb.GetBridgeHealthResponse], bool]
) -> pb.GetBridgeHealthResponse:
    """Ask until it is said; what was not known in a moment is then."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while not so(health := await look(service)):
            pass
    return health


async def test_a_bridge_that_answers_is_named(service: KeyService, bridge: RunningBridge) -> None:
    health = await until(service, lambda health: health.reachable)
    assert health.instance_id == bridge.instance_id
    assert health.latency.ToTimedelta().total_seconds() > 0
    assert health.HasField("start_time")
    assert not health.warning


async def test_a_bridge_that_is_away_is_told_with_the_run_that_answered_last(
    service: KeyService, bridge: RunningBridge
) -> None:
    before = await until(service, lambda health: health.reachable)
    await bridge.stop()
    health = await until(service, lambda health: "BRIDGE_UNAVAILABLE" in health.warning)
    assert not health.reachable
    assert not health.HasField("latency")
    assert health.instance_id == before.instance_id
    assert "KEYSERVICE_BRIDGE_TARGET" in health.warning


async def test_a_bridge_that_hangs_keeps_nobody_waiting_and_is_asked_once(
    service: KeyService, bridge: RunningBridge
) -> None:
    bridge.faults.before["GetBridgeInfo"] = hangs
    for _ in range(3):
        health = await look(service)
        assert not health.reachable
        assert "BRIDGE_TIMEOUT" in health.warning
    assert len(bridge.faults.requests("GetBridgeInfo")) == 1


async def test_keys_are_counted_by_how_far_they_have_come(service: KeyService) -> None:
    client = await service.add_client()
    for number, state in enumerate(("pending", "configured", "removing", "removed", "failed", "failed")):
        key = await service.add_key(client, label=str(number))
        await service.sql(
            "UPDATE exchange_api_keys SET bridge_state = :state WHERE label = :label",
            state=state,
            label=key.label,
        )
    health = await look(service)
    assert (health.configured_keys, health.pending_keys, health.failed_keys) == (1, 2, 2)
    assert "FAILED" in health.warning
