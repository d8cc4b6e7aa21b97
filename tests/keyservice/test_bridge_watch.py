"""A bridge that is back is not kept waiting: also by keys whose attempt was still under way when it came back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from time import monotonic
from typing import Any, Never
from uuid import UUID

import grpc
import pytest

from bridgeservice.v1 import connector_pb2
from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from keyservice import bridge_watch
from keyservice.bridge_watch import BridgeWatch
from keyservice.store.due_rows import MOST_RUNS
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import ResourceExhausted, Unavailable
from servicekit.rpc.call import Call
from tests.support.bridges import Fault, RunningBridge, aborts, refuses
from tests.support.key_service import KeyService, running
from tests.support.probe import eventually

AWAY = aborts(grpc.StatusCode.UNAVAILABLE)
# So that nothing becomes due by itself while a test runs.
LATER = "UPDATE exchange_api_keys SET next_attempt_at = now() + interval '1 hour'"
DUE = "SELECT id FROM exchange_api_keys WHERE next_attempt_at <= now()"


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(database_url, bridge_target=bridge.target) as service:
        yield service


@pytest.fixture
def watch(service: KeyService) -> BridgeWatch:
    return BridgeWatch(service.database, service.bridge, service.convergence)


async def goes_away(bridge: RunningBridge, watch: BridgeWatch) -> None:
    """Nobody is there, and a look has shown it."""
    bridge.faults.before["GetBridgeInfo"] = bridge.faults.before["AddConnector"] = AWAY
    await watch.once()


async def test_what_waits_because_the_bridge_was_away_is_due_when_a_look_finds_it_again(
    service: KeyService, client: Client, bridge: RunningBridge, watch: BridgeWatch
) -> None:
    await goes_away(bridge, watch)
    await service.add_key(client)
    await service.sql(LATER)
    await watch.once()
    assert not await service.sql(DUE)
    bridge.faults.clear()
    service.convergence.due.clear()
    await watch.once()
    assert len(await service.sql(DUE)) == 1
    assert service.convergence.due.is_set()


async def test_what_an_exchange_asks_to_wait_for_waits_on_when_the_bridge_is_back(
    service: KeyService, client: Client, bridge: RunningBridge, watch: BridgeWatch
) -> None:
    """Its pause has nothing to do with the bridge, and all who have one would come at once."""
    bridge.faults.before["AddConnector"] = refuses(
        ResourceExhausted("no", reason="RATE_LIMITED", retry_after=timedelta(hours=1))
    )
    limited = await service.add_key(client, label="limited")
    assert limited.bridge_status.reason == status.BRIDGE_REASON_RATE_LIMITED
    await goes_away(bridge, watch)
    await service.add_key(client, label="away")
    await service.sql(LATER)
    bridge.faults.clear()
    await watch.once()
    [row] = await service.sql("SELECT label FROM exchange_api_keys WHERE next_attempt_at <= now()")
    assert row.label == "away"


async def test_an_attempt_that_was_under_way_when_the_bridge_came_back_is_made_again_at_once(
    service: KeyService, client: Client, bridge: RunningBridge, watch: BridgeWatch
) -> None:
    go_on = asyncio.Event()

    async def fails_in_the_end(_request: Any, call: Call) -> Never:
        await go_on.wait()
        await call.context.abort(grpc.StatusCode.UNAVAILABLE, "made by a test")

    await goes_away(bridge, watch)
    bridge.faults.before["AddConnector"] = fails_in_the_end
    adding = asyncio.create_task(service.add_key(client))
    await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "the bridge is asked")
    del bridge.faults.before["GetBridgeInfo"]
    await watch.once()
    go_on.set()
    assert not (await adding).trading_bridge_configured
    await service.sql(LATER)
    await watch.once()
    assert len(await service.sql(DUE)) == 1


async def test_what_fails_although_the_looks_find_a_bridge_keeps_its_pauses(
    service: KeyService, client: Client, bridge: RunningBridge, watch: BridgeWatch
) -> None:
    """It belongs to another bridge behind the same balancer, which would be asked at every look."""
    await watch.once()
    bridge.faults.before["AddConnector"] = AWAY
    await service.add_key(client)
    await service.sql(LATER)
    for _ in range(2):
        await watch.once()
        assert not await service.sql(DUE)


@pytest.mark.parametrize("fault", [AWAY, aborts(grpc.StatusCode.DEADLINE_EXCEEDED)], ids=["away", "hung"])
async def test_what_waits_for_a_bridge_that_no_look_meets_is_due_when_one_of_its_accounts_has_an_answer(
    service: KeyService, client: Client, bridge: RunningBridge, watch: BridgeWatch, fault: Fault
) -> None:
    await watch.once()
    bridge.faults.before["AddConnector"] = fault
    for label in ("one", "two"):
        await service.add_key(client, label=label)
    await service.sql(LATER)
    await watch.once()
    assert not await service.sql(DUE)
    bridge.faults.before["AddConnector"] = refuses(Unavailable("Not yet.", reason="STARTING"))
    await service.add_key(client, label="three")
    await service.sql(LATER)
    await watch.once()
    assert not await service.sql(DUE)
    del bridge.faults.before["AddConnector"]
    await service.add_key(client, label="four")
    await watch.once()
    assert len(await service.sql(DUE)) == 3


async def test_a_bridge_that_comes_and_goes_leaves_keys_their_pauses(
    service: KeyService,
    client: Client,
    bridge: RunningBridge,
    watch: BridgeWatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = monotonic()
    monkeypatch.setattr(bridge_watch, "monotonic", lambda: now)
    await watch.once()
    found = []
    for number in range(3):
        bridge.faults.before["AddConnector"] = AWAY
        await service.add_key(client, label=f"{number} waits")
        await service.sql(f"{LATER}, last_attempt_at = clock_timestamp()")
        await watch.once()
        del bridge.faults.before["AddConnector"]
        await service.add_key(client, label=f"{number} is there")
        await watch.once()
        found.append(len(await service.sql(DUE)))
    now += 10
    await watch.once()
    found.append(len(await service.sql(DUE)))
    assert found == [1, 0, 0, 3]


async def test_where_there_are_more_runs_than_a_look_asks_about_the_next_looks_ask_about_the_others(
    service: KeyService, client: Client, bridge: RunningBridge, watch: BridgeWatch
) -> None:
    for number in range(MOST_RUNS + 2):
        key = await service.add_key(client, label=str(number))
        await service.sql(
            "UPDATE exchange_api_keys SET configured_instance = :run WHERE id = :id",
            run=f"run {number:02}",
            id=UUID(key.id),
        )
    there = [connector_pb2.Connector(instance_id=f"run {number:02}") for number in range(MOST_RUNS + 1)]
    bridge.faults.answers["ListConnectors"] = bridge_pb.ListConnectorsResponse(connectors=there)
    await watch.once()
    assert not await service.sql(DUE)
    await watch.once()
    [row] = await service.sql("SELECT label FROM exchange_api_keys WHERE next_attempt_at <= now()")
    assert row.label == str(MOST_RUNS + 1)
    # And then about the first again.
    del there[0]
    bridge.faults.answers["ListConnectors"] = bridge_pb.ListConnectorsResponse(connectors=there)
    await watch.once()
    assert len(await service.sql(DUE)) == 2
