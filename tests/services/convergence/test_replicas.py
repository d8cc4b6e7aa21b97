"""Three KeyServices on one database: they share the work, no key is pushed by two of them at once, and what one that
was killed had begun is taken over when its claims expire.

Real processes, before a relay that sees which of them pushes what, and when.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from pydantic import SecretStr

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from keyservice.keyring import open_keyring
from servicekit.database.url import DatabaseUrl
from tests.services.convergence.stage import BRIDGE_TIMEOUT, LOOKS, Stage
from tests.support.probe import eventually
from tests.support.relay import Relay, Seen
from tests.support.sealed import add_client, add_rows
from tests.support.service_process import MASTER_KEY, ServiceProcess, StartService, raw_url

REPLICAS = 3
AT_ONCE = 8
KEYS, CLIENTS = 240, 12
# So slow that no replica can do all the work before the others have looked for any.
SECONDS_EACH = 0.1
# How long a claim of the loop holds: the bridge's time, and the slack to say what came of it.
LEASE = BRIDGE_TIMEOUT + 5.0

Place = tuple[str, str]


@dataclass(frozen=True)
class House:
    """Three replicas and a bridge."""

    stage: Stage
    relay: Relay
    replicas: list[ServiceProcess]

    @property
    def pushes(self) -> list[Seen]:
        return [seen for seen in self.relay.seen if seen.method == "AddConnector"]

    async def restart_bridge(self) -> None:
        await self.stage.kill_bridge()
        self.relay.seen.clear()
        await self.stage.start_bridge()


@pytest.fixture
async def house(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[House]:
    async with Stage.on(raw_url(database_url), start_service) as stage:
        await stage.start_bridge()
        async with Relay(lambda _account: stage.bridge_address) as relay:
            relay.before = slowly
            settings = {"KEYSERVICE_BRIDGE_CALLS_AT_ONCE": str(AT_ONCE)}
            replicas = [stage.begin_keyservice(relay.address, **settings) for _ in range(REPLICAS)]
            for replica in replicas:
                await asyncio.to_thread(replica.wait_ready)
            yield House(stage, relay, replicas)


async def slowly(seen: Seen) -> None:
    """The bridge takes its time for a push."""
    if seen.method == "AddConnector":
        await asyncio.sleep(SECONDS_EACH)


def place(push: Seen) -> Place:
    request = bridge_pb.AddConnectorRequest.FromString(push.request)
    return request.account_name, request.connector_name


def by_place(pushes: Iterable[Seen]) -> dict[Place, list[Seen]]:
    """The pushes of each key, in the order in which they began."""
    found = defaultdict(list)
    for push in pushes:
        found[place(push)].append(push)
    return found


async def add_keys(stage: Stage, *, clients: int, each: int) -> None:
    """Keys that are due."""
    keyring = await open_keyring(stage.database, [SecretStr(MASTER_KEY)])
    for _ in range(clients):
        client_id = await add_client(stage.database)
        await add_rows(stage.database, keyring, client_id, each, next_attempt_at=datetime.now(UTC))


async def test_replicas_share_the_work_and_push_each_key_once(house: House) -> None:
    await add_keys(house.stage, clients=CLIENTS, each=KEYS // CLIENTS)
    await house.stage.until_matched(60)
    require_shared(house.pushes)

    await house.restart_bridge()
    await house.stage.until_matched(60)
    require_shared(house.pushes)


def require_shared(pushes: list[Seen]) -> None:
    assert {len(each) for each in by_place(pushes).values()} == {1}
    assert len(pushes) == KEYS
    assert len({push.peer for push in pushes}) == REPLICAS


async def test_what_a_killed_replica_had_begun_is_taken_over_when_its_claims_expire(house: House) -> None:
    released = asyncio.Event()

    async def held(seen: Seen) -> None:
        if seen.method == "AddConnector":
            await released.wait()

    house.relay.before = held
    await add_keys(house.stage, clients=REPLICAS, each=AT_ONCE)
    await eventually(lambda: len(house.pushes) == REPLICAS * AT_ONCE, "all replicas have begun all they can")
    begun = by_place(house.pushes)
    victim = house.replicas[0]
    victim.process.kill()
    await asyncio.to_thread(victim.status)
    released.set()
    await house.stage.until_matched(LEASE + LOOKS)

    pushes = by_place(house.pushes)
    taken_over = {name: each for name, each in pushes.items() if len({push.peer for push in each}) > 1}
    assert len(taken_over) == AT_ONCE
    [dead] = {begun[name][0].peer for name in taken_over}
    for each in taken_over.values():
        assert dead not in {push.peer for push in each[1:]}
    for each in pushes.values():
        for earlier, later in pairwise(each):
            if earlier.peer == dead:
                assert later.begun - earlier.begun > BRIDGE_TIMEOUT
            else:
                assert earlier.over is not None
                assert earlier.over <= later.begun
