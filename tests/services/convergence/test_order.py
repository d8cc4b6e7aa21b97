"""What comes later wins: a key that is deleted, replaced or rotated while the bridge can't be reached is never used
again, and neither is one whose push arrives after that of a newer one.

Both services as processes, and the simulator, which sees the credentials that are used. Between the services a relay
that lets calls arrive late, and a wire that is cut while the bridge lives on with all that it held.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from bridgeservice.v1.portfolio_pb2 import CONNECTOR_STATUS_OK
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from tests.services.convergence.stage import LOOKS, Stage, longest_pause, until_reachable
from tests.simulator.accounts import AccountKeys
from tests.simulator.simulator import Simulator
from tests.support.bridge_service import credentials_of
from tests.support.key_service import key_request
from tests.support.probe import plain_channel
from tests.support.relay import Delayed, Relay
from tests.support.service_process import PATIENCE, StartService
from tests.support.wire import Wire

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGE = "binance"


@dataclass(frozen=True)
class House:
    """Both services, the simulator, and what stands in between."""

    stage: Stage
    simulator: Simulator
    relay: Relay
    wire: Wire
    stub: "KeyServiceAsyncStub"

    def new_keys(self, holding: str = "1") -> AccountKeys:
        return self.simulator.add_account(EXCHANGE, balances={"BTC": holding})

    def times_shown(self, keys: AccountKeys) -> int:
        return self.simulator.account(keys).times_shown

    async def add_client(self) -> Client:
        return (await self.stub.CreateClient(pb.CreateClientRequest(name="a client"))).client

    async def add(self, client: Client, keys: AccountKeys, label: str = "main") -> ApiKey:
        request = key_request(client, exchange=EXCHANGE, label=label, credentials=credentials_of(keys))
        return (await self.stub.AddApiKey(request)).api_key

    async def rotate(self, key: ApiKey, keys: AccountKeys) -> ApiKey:
        request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=credentials_of(keys))
        return (await self.stub.RotateApiKey(request)).api_key

    async def delete(self, key: ApiKey) -> ApiKey:
        return (await self.stub.DeleteApiKey(pb.DeleteApiKeyRequest(api_key_id=key.id))).api_key

    async def set_disabled(self, key: ApiKey, *, disabled: bool) -> ApiKey:
        wanted = ApiKey(id=key.id, disabled=disabled)
        request = pb.UpdateApiKeyRequest(api_key=wanted, update_mask=FieldMask(paths=["disabled"]))
        return (await self.stub.UpdateApiKey(request)).api_key

    async def until_read(self, client: Client, holding: str) -> None:
        """Ask for balances at once and again, until they are there; they are these, or not known."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.stub.GetBalances(pb.GetBalancesRequest(client_id=client.id))
                [entry] = answer.keys
                if entry.status == CONNECTOR_STATUS_OK:
                    break
                assert not entry.balances
                await asyncio.sleep(0.02)
        assert [(each.asset, each.total) for each in entry.balances] == [("BTC", holding)]

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Nobody reaches the bridge, which keeps what it has."""
        bridge = self.wire.leads_to
        self.wire.leads_to = 0
        await self.wire.cut()
        try:
            yield
        finally:
            self.wire.leads_to = bridge

    async def held_of(self, client: Client) -> list[str]:
        """The connectors that the bridge holds of a client."""
        return [name for account, name in await self.stage.held() if account == client.account_name]

    async def until_matched(self) -> None:
        await self.stage.until_matched(await longest_pause(self.stage) + LOOKS)

    async def deliver(self, delayed: Delayed) -> StatusCode:
        async with plain_channel(self.wire.leads_to) as channel:
            return await delayed.deliver(channel)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(shared_url: str, start_shared_service: StartService) -> AsyncIterator[House]:
    async with (
        Simulator() as simulator,
        Stage.on(shared_url, start_shared_service) as stage,
        Wire() as wire,
        Relay(lambda _account: wire.address) as relay,
    ):
        wire.leads_to = (
            await stage.start_bridge(BRIDGESERVICE_EXCHANGE_URLS=json.dumps(simulator.urls))
        ).port
        service = await stage.start_keyservice(relay.address)
        async with plain_channel(service.port) as channel:
            stub = KeyServiceStub(channel)
            await until_reachable(stub)
            yield House(stage, simulator, relay, wire, stub)


async def test_what_happens_to_keys_during_an_outage_holds_from_the_first_moment_after_it(
    house: House,
) -> None:
    gone, replaced, rotated = [await house.add_client() for _ in range(3)]
    old, first = house.new_keys(), house.new_keys()
    gone_key = await house.add(gone, house.new_keys())
    replaced_key = await house.add(replaced, old)
    rotated_key = await house.add(rotated, first)
    for client in (gone, replaced, rotated):
        await house.until_read(client, "1")
    shown = [house.times_shown(keys) for keys in (old, first)]

    middle, last, new = house.new_keys("2"), house.new_keys("3"), house.new_keys("4")
    async with house.outage():
        await house.delete(gone_key)
        await house.delete(replaced_key)
        assert not (await house.add(replaced, new)).trading_bridge_configured
        await house.rotate(rotated_key, middle)
        assert not (await house.rotate(rotated_key, last)).trading_bridge_configured
    await asyncio.gather(house.until_read(replaced, "4"), house.until_read(rotated, "3"))
    await house.until_matched()

    assert not await house.held_of(gone)
    await house.until_read(replaced, "4")
    await house.until_read(rotated, "3")
    assert [house.times_shown(keys) for keys in (old, first)] == shown
    assert house.times_shown(middle) == 0


async def test_a_push_that_arrives_after_a_newer_one_never_wins(house: House) -> None:
    client = await house.add_client()
    key = await house.add(client, house.new_keys())
    older, newer = house.new_keys("2"), house.new_keys("3")
    late = house.relay.delay("AddConnector", client.account_name)
    await house.rotate(key, older)
    await late.arrived.wait()
    await house.rotate(key, newer)
    await house.until_matched()
    shown = house.times_shown(older)
    assert await house.deliver(late) is StatusCode.ABORTED
    await house.until_read(client, "3")
    assert house.times_shown(older) == shown
    await house.until_matched()


async def test_a_push_that_arrives_after_the_key_was_deleted_does_not_bring_it_back(house: House) -> None:
    client = await house.add_client()
    late = house.relay.delay("AddConnector", client.account_name)
    key = await house.add(client, house.new_keys())
    await late.arrived.wait()
    await house.delete(key)
    await house.until_matched()
    assert await house.deliver(late) is StatusCode.ABORTED
    assert not await house.held_of(client)


async def test_a_removal_that_arrives_after_the_key_is_back_takes_nothing_away(house: House) -> None:
    client = await house.add_client()
    key = await house.add(client, house.new_keys())
    late = house.relay.delay("RemoveConnector", client.account_name)
    await house.set_disabled(key, disabled=True)
    await late.arrived.wait()
    await house.set_disabled(key, disabled=False)
    await house.until_matched()
    assert await house.deliver(late) is StatusCode.ABORTED
    await house.until_read(client, "1")
    await house.until_matched()
