"""A key that is verified when it is added or rotated is answered with what its exchange lets it do.

Both services as processes, and real ccxt before the simulator.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.permissions_pb2 import PERMISSION_NO, PERMISSION_YES, Permissions
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.database.url import DatabaseUrl
from tests.simulator.accounts import Permission
from tests.simulator.simulator import READ_AND_TRADE, Simulator
from tests.support.bridge_service import credentials_of
from tests.support.probe import plain_channel
from tests.support.service_process import StartService, raw_url

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

# Loading ccxt and the markets of an exchange is a part of the first verification.
PATIENCE = "20s"
TRADES = Permissions(read=PERMISSION_YES, trade=PERMISSION_YES, withdraw=PERMISSION_NO)
WITHDRAWS = Permissions(read=PERMISSION_YES, trade=PERMISSION_YES, withdraw=PERMISSION_YES)


@dataclass(frozen=True)
class Exchange:
    """Both services, before a simulated exchange."""

    simulator: Simulator
    stub: "KeyServiceAsyncStub"

    def credentials(self, *more: Permission) -> Credentials:
        keys = self.simulator.add_account("binance", permissions=(*READ_AND_TRADE, *more))
        return credentials_of(keys)

    async def add(self, credentials: Credentials) -> pb.AddApiKeyResponse:
        client = (await self.stub.CreateClient(pb.CreateClientRequest(name="a client"))).client
        return await self.stub.AddApiKey(
            pb.AddApiKeyRequest(client_id=client.id, exchange="binance", credentials=credentials, verify=True)
        )


@pytest.fixture
async def exchange(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[Exchange]:
    async with Simulator() as simulator:
        bridge = start_service("bridgeservice", BRIDGESERVICE_EXCHANGE_URLS=json.dumps(simulator.urls))
        service = start_service(
            "keyservice",
            DATABASE_URL=raw_url(database_url),
            KEYSERVICE_BRIDGE_TARGET=await asyncio.to_thread(lambda: bridge.address),
            KEYSERVICE_INLINE_BRIDGE_WAIT=PATIENCE,
        )
        await asyncio.to_thread(service.wait_ready)
        async with plain_channel(service.port) as channel:
            yield Exchange(simulator, KeyServiceStub(channel))


async def test_an_added_or_rotated_key_tells_what_its_exchange_allows(exchange: Exchange) -> None:
    added = await exchange.add(exchange.credentials())
    assert added.trading_bridge_configured, added.trading_bridge_warning
    assert added.api_key.permissions == TRADES
    assert added.api_key.HasField("verify_time")
    risky = await exchange.add(exchange.credentials(Permission.WITHDRAW))
    assert risky.api_key.permissions == WITHDRAWS

    request = pb.RotateApiKeyRequest(
        api_key_id=added.api_key.id, credentials=exchange.credentials(Permission.WITHDRAW), verify=True
    )
    rotated = await exchange.stub.RotateApiKey(request)
    assert rotated.trading_bridge_configured, rotated.trading_bridge_warning
    assert rotated.api_key.permissions == WITHDRAWS
    read = await exchange.stub.GetApiKey(pb.GetApiKeyRequest(api_key_id=added.api_key.id))
    assert read.api_key == rotated.api_key

    request = pb.RotateApiKeyRequest(api_key_id=added.api_key.id, credentials=exchange.credentials())
    unproven = await exchange.stub.RotateApiKey(request)
    assert unproven.trading_bridge_configured
    assert not unproven.api_key.HasField("permissions")
    assert not unproven.api_key.HasField("verify_time")


async def test_credentials_that_the_exchange_refuses_are_kept_and_prove_nothing(exchange: Exchange) -> None:
    unknown = exchange.credentials()
    unknown.api_secret = exchange.credentials().api_secret
    added = await exchange.add(unknown)
    assert not added.trading_bridge_configured
    assert added.api_key.bridge_status.reason == status.BRIDGE_REASON_CREDENTIALS_REJECTED
    assert not added.api_key.HasField("permissions")
