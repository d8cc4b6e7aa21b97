"""A key that is removed while a push of it is on its way stays removed, whichever run of the bridge takes the push."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Never

import pytest

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from keyservice.store import convergence as store
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Unavailable
from servicekit.rpc.call import Call
from tests.support.bridges import Fault, RunningBridge
from tests.support.key_service import KeyService, running
from tests.support.probe import eventually


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=1), loops=True
    ) as service:
        yield service


def removed_meanwhile(service: KeyService, bridge: RunningBridge, key: ApiKey) -> Fault:
    """While the push is on its way the key is deleted, and another run of the bridge acknowledges that."""

    async def fault(_request: Any, _call: Call) -> None:
        bridge.faults.clear()
        bridge.faults.answers["RemoveConnector"] = bridge_pb.RemoveConnectorResponse()
        deleted = await service.delete_key(key)
        assert deleted.bridge_status.state == status.BRIDGE_STATE_REMOVED
        bridge.faults.clear()

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
    removed = removed_meanwhile(service, bridge, key)

    async def and_then_nothing_can_be_stored(request: Any, call: Call) -> None:
        await removed(request, call)
        for statement in ("write", "doubt_removal"):
            fails_once(monkeypatch, statement)

    bridge.faults.before["AddConnector"] = and_then_nothing_can_be_stored
    await service.rotate_key(key)
    await is_removed_again(service, bridge, key)


def fails_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The database is away as the store is about to send this statement."""
    real = getattr(store, name)

    async def away(*_: object, **__: object) -> Never:
        monkeypatch.setattr(store, name, real)
        raise Unavailable("It is away.")

    monkeypatch.setattr(store, name, away)
