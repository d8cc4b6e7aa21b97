"""A key that is removed while a push of it is on its way stays removed, whichever run of the bridge takes the push."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from types import ModuleType
from typing import Any, Never

import grpc
import pytest

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from keyservice.store import convergence as store
from keyservice.store import revisions
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import FailedPrecondition, Unavailable
from servicekit.rpc.call import Call
from tests.support.bridges import Fault, RunningBridge, aborts, refuses
from tests.support.key_service import KeyService, key_request, running
from tests.support.probe import eventually


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=1), loops=True
    ) as service:
        yield service


async def and_no_more(_request: Any, _call: Call) -> None:
    """What happens besides, where nothing else does."""


def removed_meanwhile(
    service: KeyService, bridge: RunningBridge, key: ApiKey, then: Fault = and_no_more
) -> Fault:
    """While the push is on its way the key is deleted, and another run of the bridge acknowledges that."""

    async def fault(request: Any, call: Call) -> None:
        bridge.faults.clear()
        bridge.faults.answers["RemoveConnector"] = bridge_pb.RemoveConnectorResponse()
        deleted = await service.delete_key(key)
        assert deleted.bridge_status.state == status.BRIDGE_STATE_REMOVED
        bridge.faults.clear()
        await then(request, call)

    return fault


async def is_removed_again(service: KeyService, bridge: RunningBridge, key: ApiKey) -> None:
    await eventually(lambda: not bridge.held(), "the bridge does not hold the key any more")
    await service.becomes(key, status.BRIDGE_STATE_REMOVED)


async def test_what_a_run_of_the_bridge_takes_that_has_not_heard_of_the_removal_is_removed_again(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    bridge.faults.before["AddConnector"] = removed_meanwhile(service, bridge, key)
    await service.rotate_key(key)
    await is_removed_again(service, bridge, key)


async def test_it_is_removed_again_although_the_database_was_away_when_that_turned_out(
    service: KeyService, client: Client, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await service.add_key(client)
    lost: list[str] = []

    async def nothing_can_be_stored(_request: Any, _call: Call) -> None:
        fails_once(monkeypatch, store, "write", lost)
        fails_once(monkeypatch, revisions, "doubt_removal", lost)

    bridge.faults.before["AddConnector"] = removed_meanwhile(service, bridge, key, nothing_can_be_stored)
    await service.rotate_key(key)
    await is_removed_again(service, bridge, key)
    assert lost == ["write", "doubt_removal"]


async def test_it_is_removed_again_although_what_the_exchange_allows_could_not_be_stored(
    service: KeyService, client: Client, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await service.add_key(client, exchange="paper")
    lost: list[str] = []

    async def that_cannot_be_stored(_request: Any, _call: Call) -> None:
        fails_once(monkeypatch, store, "keep_permissions", lost)

    bridge.faults.before["AddConnector"] = removed_meanwhile(service, bridge, key, that_cannot_be_stored)
    await service.stub.RotateApiKey(pb.RotateApiKeyRequest(api_key_id=key.id, verify=True))
    await is_removed_again(service, bridge, key)
    assert lost == ["keep_permissions"]


async def test_what_the_exchange_allows_fails_alone_where_it_cannot_be_stored(
    service: KeyService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []
    fails_once(monkeypatch, store, "keep_permissions", lost)
    request = key_request(client, exchange="paper", verify=True)
    answer = await service.stub.AddApiKey(request)
    assert lost == ["keep_permissions"]
    assert answer.trading_bridge_configured
    assert not answer.api_key.HasField("verify_time")


async def test_what_a_run_has_taken_is_removed_again_also_where_its_answer_was_lost(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)

    async def its_answer_is_lost(_request: Any, _call: Call) -> None:
        bridge.faults.after["AddConnector"] = aborts(grpc.StatusCode.UNAVAILABLE)

    bridge.faults.before["AddConnector"] = removed_meanwhile(service, bridge, key, its_answer_is_lost)
    await service.rotate_key(key)
    bridge.faults.clear()
    await is_removed_again(service, bridge, key)


async def test_a_removal_is_not_done_again_where_the_bridge_has_refused_the_push(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    refusal = refuses(FailedPrecondition("no", reason="EXCHANGE_UNSUPPORTED"))
    bridge.faults.before["AddConnector"] = removed_meanwhile(service, bridge, key, refusal)
    await service.rotate_key(key)
    await service.convergence.work.end()
    removals = [each.revision for each in bridge.faults.requests("RemoveConnector")]
    row = await service.row(key)
    assert (row.bridge_state, removals.count(row.revision)) == ("removed", 1)


async def test_what_a_run_takes_while_the_removal_is_on_its_way_to_another_one_is_removed_again(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    go_on = asyncio.Event()
    deleting: list[asyncio.Task[ApiKey]] = []

    async def the_first_is_at_another_run(_request: Any, _call: Call) -> None:
        if len(bridge.faults.requests("RemoveConnector")) == 1:
            await go_on.wait()
            bridge.faults.answers["RemoveConnector"] = bridge_pb.RemoveConnectorResponse()

    async def and_the_next_are_not(_request: Any, _call: Call) -> None:
        bridge.faults.answers.clear()

    async def is_deleted_meanwhile(_request: Any, _call: Call) -> None:
        bridge.faults.before["RemoveConnector"] = the_first_is_at_another_run
        bridge.faults.after["RemoveConnector"] = and_the_next_are_not
        deleting.append(asyncio.create_task(service.delete_key(key)))
        await eventually(
            lambda: bool(bridge.faults.requests("RemoveConnector")), "the other run is asked to remove it"
        )

    bridge.faults.before["AddConnector"] = is_deleted_meanwhile
    await service.rotate_key(key)
    assert bridge.held()
    [first] = bridge.faults.requests("RemoveConnector")
    async with asyncio.timeout(10):
        while (await service.row(key)).revision == first.revision:  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)
    go_on.set()
    await deleting[0]
    await is_removed_again(service, bridge, key)


def fails_once(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, lost: list[str]) -> None:
    """The database is away as the store is about to send this statement, which is noted then."""
    real = getattr(module, name)

    async def away(*_: object, **__: object) -> Never:
        monkeypatch.setattr(module, name, real)
        lost.append(name)
        raise Unavailable("It is away.")

    monkeypatch.setattr(module, name, away)
