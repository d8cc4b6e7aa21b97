"""Three KeyServices on one database: they share the work, no key is pushed by two of them at once, and what one that
was killed had begun is taken over when its claims expire.

Real processes, before a relay that sees which of them pushes what, and when.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic

import pytest
from pydantic import SecretStr

from keyservice.claims import LEASE
from keyservice.keyring import open_keyring
from servicekit.database.url import DatabaseUrl
from tests.services.convergence.stage import LOOKS, Stage
from tests.support.probe import eventually
from tests.support.relay import Place, Relay, Seen, place
from tests.support.sealed import add_client, add_rows
from tests.support.service_process import MASTER_KEY, PATIENCE, ServiceProcess, StartService, raw_url

REPLICAS = 3
AT_ONCE = 8
KEYS, CLIENTS = 240, 12
SECONDS_EACH = 0.1
# Longer than anything is held here: no push is given up, and made again.
NO_END = "100s"


@dataclass(frozen=True)
class House:
    """Three replicas and a bridge."""

    stage: Stage
    relay: Relay
    replicas: list[ServiceProcess]

    @property
    def pushes(self) -> list[Seen]:
        return [seen for seen in self.relay.seen if seen.method == "AddConnector"]

    @property
    def pushers(self) -> set[str]:
        """Who pushed, by its connection."""
        return {push.peer for push in self.pushes}

    async def restart_bridge(self) -> None:
        await self.stage.kill_bridge()
        self.relay.seen.clear()
        await self.stage.start_bridge()


@pytest.fixture
async def house(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[House]:
    async with Stage.on(raw_url(database_url), start_service) as stage:
        await stage.start_bridge()
        async with Relay(lambda _account: stage.bridge_address) as relay:
            settings = {"KEYSERVICE_BRIDGE_CALLS_AT_ONCE": str(AT_ONCE), "KEYSERVICE_BRIDGE_TIMEOUT": NO_END}
            replicas = [stage.begin_keyservice(relay.address, **settings) for _ in range(REPLICAS)]
            for replica in replicas:
                await asyncio.to_thread(replica.wait_ready)
            yield House(stage, relay, replicas)


def together(house: House) -> Callable[[Seen], Awaitable[None]]:
    """The bridge takes its time for a push, and at first so long that no replica can do all the work before each of
    the others has begun with some."""

    async def before(seen: Seen) -> None:
        if seen.method == "AddConnector":
            await eventually(lambda: len(house.pushers) == REPLICAS, "all replicas push", PATIENCE)
            await asyncio.sleep(SECONDS_EACH)

    return before


def by_place(pushes: Iterable[Seen]) -> dict[Place, list[Seen]]:
    """The pushes of each key, in the order in which they began."""
    found = defaultdict(list)
    for push in pushes:
        found[place(push)].append(push)
    return found


async def add_keys(stage: Stage, *, clients: int, each: int) -> None:
    """Keys that are due, all at the same moment: so nobody begins with a part of them."""
    keyring = await open_keyring(stage.database, [SecretStr(MASTER_KEY)])
    for _ in range(clients):
        client_id = await add_client(stage.database)
        await add_rows(stage.database, keyring, client_id, each, next_attempt_at=None)
    await stage.sql("UPDATE exchange_api_keys SET next_attempt_at = clock_timestamp()")


async def test_replicas_share_the_work_and_push_each_key_once(house: House) -> None:
    house.relay.before = together(house)
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


async def claims_end(stage: Stage) -> dict[Place, float]:
    """When the claim of each key expires if nobody renews it, or earlier, on the clock of this process."""
    before = monotonic()
    rows = await stage.sql(
        "SELECT 'client_' || client_id, connector_name, extract(epoch FROM next_attempt_at - clock_timestamp())"
        " FROM exchange_api_keys"
    )
    return {(account, connector): before + float(left) for account, connector, left in rows}


async def test_what_a_killed_replica_had_begun_is_taken_over_when_its_claims_expire(house: House) -> None:
    released = asyncio.Event()

    async def held(seen: Seen) -> None:
        if seen.method == "AddConnector":
            await released.wait()

    house.relay.before = held
    await add_keys(house.stage, clients=REPLICAS, each=AT_ONCE)
    await eventually(lambda: len(house.pushes) == REPLICAS * AT_ONCE, "all have begun all they can", PATIENCE)
    begun = by_place(house.pushes)
    claimed_until = await claims_end(house.stage)
    victim = house.replicas[0]
    victim.process.kill()
    await asyncio.to_thread(victim.status)
    released.set()
    await house.stage.until_matched(LEASE.total_seconds() + LOOKS)

    pushes = by_place(house.pushes)
    taken_over = {name: each for name, each in pushes.items() if len({push.peer for push in each}) > 1}
    assert len(taken_over) == AT_ONCE
    [dead] = {begun[name][0].peer for name in taken_over}
    for each in taken_over.values():
        assert dead not in {push.peer for push in each[1:]}
    for name, each in pushes.items():
        for earlier, later in pairwise(each):
            if earlier.peer == dead:
                assert later.begun > claimed_until[name]
            else:
                assert earlier.over is not None
                assert earlier.over <= later.begun
