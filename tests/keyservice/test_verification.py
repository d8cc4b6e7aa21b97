"""Who uses a key that the bridge lost hears why it can't be taken there, and when to come again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from keyservice import records
from keyservice.enums import BridgeState
from keyservice.records import Caller
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import ResourceExhausted
from tests.support.bridges import RunningBridge, hangs, refuses, waits_for
from tests.support.key_service import KeyService, refusal, running
from tests.support.probe import eventually


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=5)
    ) as service:
        yield service


@pytest.fixture
async def lost(service: KeyService, client: Client, bridge: RunningBridge) -> ApiKey:
    """A key that the bridge does not hold any more, and nobody knows of it."""
    key = await service.add_key(client, exchange="paper")
    await bridge.running.remove(key.connector_name, key.revision, account_name=client.account_name)
    bridge.faults.seen.clear()
    return key


async def test_an_exchange_that_asks_to_wait_says_until_when(
    service: KeyService, bridge: RunningBridge, lost: ApiKey
) -> None:
    wait = timedelta(seconds=30)
    bridge.faults.before["AddConnector"] = refuses(
        ResourceExhausted("no", reason="RATE_LIMITED", retry_after=wait)
    )
    told = await refusal(service.stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=lost.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert told.retry_after is not None
    assert wait / 2 < told.retry_after <= wait


async def test_what_comes_of_it_where_somebody_takes_the_key_there_already_is_the_answer(
    service: KeyService, bridge: RunningBridge, lost: ApiKey
) -> None:
    go_on = asyncio.Event()
    bridge.faults.before["AddConnector"] = waits_for(go_on)
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'failed', bridge_reason = 'credentials_rejected'"
    )
    asked = asyncio.Event()

    async def is_claimed_by_somebody_meanwhile(request: object, call: object) -> None:
        if not asked.is_set():
            asked.set()
            await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "somebody takes it there")

    bridge.faults.before["VerifyConnector"] = is_claimed_by_somebody_meanwhile
    verifying = asyncio.ensure_future(service.stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=lost.id)))
    await asked.wait()
    taking = asyncio.ensure_future(
        service.stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=lost.id))
    )
    await asyncio.wait({verifying}, timeout=0.3)
    assert not verifying.done()
    go_on.set()
    assert (await taking).trading_bridge_configured
    assert (await verifying).message.startswith("The exchange accepts the credentials.")
    # The bridge remembers a removal of the first one.
    pushed = [each.revision for each in bridge.faults.requests("AddConnector")]
    assert len(pushed) == len(set(pushed)) == 2


async def test_a_bridge_that_does_not_take_the_key_in_time_is_late_and_no_more(
    service: KeyService, bridge: RunningBridge, lost: ApiKey
) -> None:
    bridge.faults.before["AddConnector"] = hangs
    call = service.stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=lost.id), timeout=2)
    told = await refusal(call)
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "BRIDGE_TIMEOUT")


async def test_a_key_that_is_deleted_while_it_is_taken_there_says_so_in_place_of_balances(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    async def is_deleted_meanwhile(
        caller: Caller,
        key: records.ApiKey,
        *,
        timeout: timedelta,  # noqa: ASYNC109 - as it is given
    ) -> records.ApiKey:
        assert caller.name
        assert timeout
        return replace(key, deleted_at=key.created_at, bridge_state=BridgeState.REMOVED)

    async with running(database_url, bridge_target=bridge.target, converge=is_deleted_meanwhile) as service:
        client = await service.add_client()
        key = await service.add_key(client, exchange="paper")
        await bridge.running.remove(key.connector_name, key.revision, account_name=client.account_name)
        answer = await service.stub.GetBalances(pb.GetBalancesRequest(client_id=client.id))
        [entry] = answer.keys
        assert (entry.configured, answer.complete) == (False, False)
        assert entry.warning.startswith("The key is deleted")
