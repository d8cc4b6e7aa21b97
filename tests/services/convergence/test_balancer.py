"""Two bridges behind a balancer that picks by account, where KeyService's look at the bridge sees one of them only.

Real processes; the balancer is a relay that can send an account elsewhere, as one does when a bridge is added.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.portfolio_pb2 import ConnectorStatus
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.database.url import DatabaseUrl
from tests.services.convergence.stage import LOOKS, Held, Stage, held_by, until_reachable
from tests.simulator.simulator import Simulator
from tests.support.bridge_service import connector_request, credentials_of
from tests.support.key_service import key_request
from tests.support.probe import eventually, plain_channel
from tests.support.relay import Place, Relay, place
from tests.support.service_process import PATIENCE, ServiceProcess, StartService, raw_url

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

CHECK_SECONDS = 1
TTL_SECONDS = 3 * CHECK_SECONDS


@dataclass
class House:
    """Two bridges; whatever is about no account, and every account that is not told otherwise, goes to the first."""

    stage: Stage
    bridges: list[ServiceProcess]
    elsewhere: set[str] = field(default_factory=set)
    """Accounts that belong to the second bridge."""

    relay: Relay = field(init=False)
    stub: "KeyServiceAsyncStub" = field(init=False)

    def route(self, account: str) -> str:
        return self.bridges[account in self.elsewhere].address

    @property
    def pushes(self) -> list[Place]:
        """What was pushed, in the order in which that began."""
        return [place(seen) for seen in self.relay.seen if seen.method == "AddConnector"]

    @property
    def looks(self) -> int:
        return sum(seen.method == "GetBridgeInfo" for seen in self.relay.seen)

    async def add_client(self, *, elsewhere: bool = False) -> Client:
        client = (await self.stub.CreateClient(pb.CreateClientRequest(name="a client"))).client
        if elsewhere:
            self.elsewhere.add(client.account_name)
        return client

    async def add(self, client: Client, label: str = "", exchange: str = "kraken") -> ApiKey:
        answer = await self.stub.AddApiKey(key_request(client, label=label, exchange=exchange))
        assert answer.trading_bridge_configured, answer
        return answer.api_key

    async def held(self) -> list[Held]:
        """What each of the two bridges holds."""
        return [await held_by(bridge) for bridge in self.bridges]

    async def until_matched(self, seconds: float) -> None:
        """Wait until each account is as it should be on the bridge that it belongs to, and only there."""
        until = monotonic() + seconds
        while True:
            wanted = await self.stage.wanted()
            should = [
                {
                    place: revision
                    for place, revision in wanted.items()
                    if (place[0] in self.elsewhere) == second
                }
                for second in (False, True)
            ]
            held = await self.held()
            if held == should and not await self.stage.unmatched():
                return
            assert monotonic() < until, (seconds, held, should)
            await asyncio.sleep(0.05)

    async def restart_second(self, **settings: str) -> None:
        self.bridges[1].process.kill()
        self.bridges[1] = await self.stage.start_bridge(**settings)

    @asynccontextmanager
    async def second(self) -> AsyncIterator[Any]:
        """A stub of the second bridge, past everything."""
        async with plain_channel(self.bridges[1].port) as channel:
            yield TradingBridgeStub(channel)


@asynccontextmanager
async def running(
    url: DatabaseUrl, start: StartService, *, check_every: str, **bridge_settings: str
) -> AsyncIterator[House]:
    async with Stage.on(raw_url(url), start) as stage:
        bridges = [await stage.start_bridge(DATABASE_URL=stage.url, **bridge_settings) for _ in range(2)]
        house = House(stage, bridges)
        async with Relay(house.route) as house.relay:
            service = await stage.start_keyservice(
                house.relay.address,
                KEYSERVICE_BRIDGE_CHECK_INTERVAL=check_every,
                KEYSERVICE_INLINE_BRIDGE_WAIT=f"{PATIENCE:g}s",
            )
            async with plain_channel(service.port) as channel:
                house.stub = KeyServiceStub(channel)
                await until_reachable(house.stub)
                yield house


@pytest.fixture
async def house(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[House]:
    """One whose rolling check does not come round while a test runs."""
    async with running(database_url, start_service, check_every="1h") as house:
        yield house


async def looks(house: House, count: int) -> None:
    until = house.looks + count
    await eventually(lambda: house.looks >= until, "KeyService looks at the bridge", PATIENCE)


async def test_looks_that_see_one_bridge_make_nothing_due_that_the_other_holds_but_what_it_lost(
    house: House,
) -> None:
    here, there = await house.add_client(), await house.add_client(elsewhere=True)
    for label in "abc":
        await house.add(here, label)
        await house.add(there, label)
    house.relay.seen.clear()
    await looks(house, 4)
    assert not house.pushes

    await house.restart_second(DATABASE_URL=house.stage.url)
    await house.until_matched(LOOKS)
    assert set(house.pushes) == {(there.account_name, f"kraken:{label}") for label in "abc"}


async def test_accounts_of_a_bridge_that_is_there_are_served_while_another_one_is_away(house: House) -> None:
    here, there = await house.add_client(), await house.add_client(elsewhere=True)
    await house.add(here, exchange="paper")
    await house.add(there, exchange="paper")
    house.bridges[1].process.kill()
    for _ in range(20):
        away, served = [
            await house.stub.GetBalances(pb.GetBalancesRequest(client_id=client.id))
            for client in (there, here)
        ]
        assert [status(answer) for answer in (away, served)] == ["BRIDGE_UNAVAILABLE", "OK"]
    await looks(house, 2)
    assert not await house.stage.unmatched()


async def test_a_read_of_an_account_that_has_moved_repairs_it_inside_its_deadline(house: House) -> None:
    client = await house.add_client()
    key = await house.add(client, exchange="paper")
    house.elsewhere.add(client.account_name)
    house.relay.seen.clear()
    request = pb.GetBalancesRequest(client_id=client.id)
    answer = await house.stub.GetBalances(request, timeout=PATIENCE)
    assert status(answer) == "OK"
    assert answer.complete
    # Besides, a look may ask what is held, now that another run has acknowledged the key.
    mine = [
        seen.method
        for seen in house.relay.seen
        if seen.account == client.account_name and seen.method != "ListConnectors"
    ]
    assert mine == ["GetPortfolio", "AddConnector", "GetPortfolio"]
    assert (await house.held())[1] == {(client.account_name, "paper"): key.revision}


async def test_what_was_replaced_on_one_bridge_is_never_read_with_on_another_that_has_it_still(
    database_url: DatabaseUrl, start_service: StartService
) -> None:
    async with Simulator() as simulator:
        urls = json.dumps(simulator.urls)
        async with running(
            database_url, start_service, check_every="1h", BRIDGESERVICE_EXCHANGE_URLS=urls
        ) as house:
            old, new = (simulator.add_account("binance", balances={"BTC": each}) for each in "17")
            client = await house.add_client()
            adding = key_request(client, exchange="binance", credentials=credentials_of(old))
            key = (await house.stub.AddApiKey(adding)).api_key
            request = pb.GetBalancesRequest(client_id=client.id)
            assert (await house.stub.GetBalances(request, timeout=PATIENCE)).totals[0].total == "1"

            house.elsewhere.add(client.account_name)
            rotation = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=credentials_of(new))
            assert (await house.stub.RotateApiKey(rotation)).trading_bridge_configured
            house.elsewhere.remove(client.account_name)
            shown = simulator.account(old).times_shown
            answer = await house.stub.GetBalances(request, timeout=PATIENCE)
            assert answer.complete
            assert answer.totals[0].total == "7"
            assert simulator.account(old).times_shown == shown


async def test_the_rolling_check_finds_the_missing_the_extra_and_the_outdated_and_what_moved_goes_by_its_ttl(
    database_url: DatabaseUrl, start_service: StartService
) -> None:
    ttl = {"BRIDGESERVICE_CONNECTOR_TTL": f"{TTL_SECONDS}s"}
    async with running(database_url, start_service, check_every=f"{CHECK_SECONDS}s", **ttl) as house:
        here, there, moved = [await house.add_client(elsewhere=each == 1) for each in range(3)]
        await house.add(here, "stays")
        await house.add(moved, "moves")
        *_, missing = [await house.add(there, label) for label in ("stays", "outdated", "missing")]
        async with house.second() as bridge:
            place = {"account_name": there.account_name, "connector_name": missing.connector_name}
            await bridge.RemoveConnector(bridge_pb.RemoveConnectorRequest(**place, revision=missing.revision))
            await bridge.AddConnector(connector_request("kraken:extra", account_name=there.account_name))
        await house.stage.sql(
            "UPDATE exchange_api_keys SET revision = nextval('key_revisions') WHERE label = 'outdated'"
        )
        await house.until_matched(2 * CHECK_SECONDS + LOOKS)

        house.elsewhere.add(moved.account_name)
        await house.until_matched(2 * CHECK_SECONDS + TTL_SECONDS + LOOKS)


def status(answer: pb.GetBalancesResponse) -> str:
    [entry] = answer.keys
    assert bool(entry.balances) == (entry.status == ConnectorStatus.CONNECTOR_STATUS_OK)
    return ConnectorStatus.Name(entry.status).removeprefix("CONNECTOR_STATUS_")
