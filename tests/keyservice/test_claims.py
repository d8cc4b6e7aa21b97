"""A claim is renewed while its holder is at work, so that it can be short."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from keyservice import claims
from keyservice.claims import LEASE, Claims
from keyservice.convergence_loop import ConvergenceLoop
from keyservice.custody import ApiKeyChanges
from keyservice.records import ApiKey, Caller
from keyservice.store import due_claims
from keyservice.store.seals import Claimed
from keyservice.v1.client_pb2 import Client
from servicekit.database.engine import Connection
from servicekit.database.url import DatabaseUrl
from tests.support.bridges import RunningBridge, waits_for
from tests.support.key_service import KeyService, running
from tests.support.probe import eventually
from tests.support.sealed import new_key

AT_ONCE = timedelta(0)
PATIENCE = timedelta(seconds=10)
UNTIL = "SELECT next_attempt_at FROM exchange_api_keys"


@pytest.fixture
async def claimed(service: KeyService, client: Client) -> ApiKey:
    """A key that waits for the bridge, claimed a while ago: the claim is about to expire."""
    key_id = UUID((await service.add_key(client)).id)
    await service.sql(
        "UPDATE exchange_api_keys SET next_attempt_at = now() - interval '1 second', bridge_reason = NULL"
    )
    return await service.custody.get(Caller("a test"), key_id)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are renewed as soon as they are held."""
    monkeypatch.setattr(claims, "EVERY", AT_ONCE)


async def is_due(service: KeyService) -> bool:
    async with service.database.autocommit() as connection:
        return bool(await due_claims.claim_due(connection, limit=1, lease=LEASE, releases=True))


@pytest.mark.usefixtures("impatient")
async def test_what_somebody_is_at_work_on_is_nobody_elses(service: KeyService, claimed: ApiKey) -> None:
    held = Claims(service.database)
    with held.held(claimed):
        await held.renew()
        assert not await is_due(service)
        [row] = await service.sql(UNTIL)
        left = row.next_attempt_at - datetime.now(UTC)
        assert LEASE / 2 < left <= LEASE
    await service.sql("UPDATE exchange_api_keys SET next_attempt_at = now() - interval '1 second'")
    await held.renew()
    assert await is_due(service)


async def test_a_claim_that_is_new_is_left_alone(service: KeyService, claimed: ApiKey) -> None:
    held = Claims(service.database)
    with held.held(claimed):
        await held.renew()
        assert await is_due(service)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "meanwhile",
    [
        "last_attempt_at = now()",  # somebody else has claimed it
        "bridge_reason = 'bridge_unavailable'",  # what came of it is written
        "bridge_state = 'configured'",
        "attempt_count = 0",  # it was made due anew, for whoever comes first
    ],
)
async def test_a_claim_that_is_over_is_not_renewed(
    service: KeyService, claimed: ApiKey, meanwhile: str
) -> None:
    await service.sql(f"UPDATE exchange_api_keys SET {meanwhile}")  # noqa: S608 - ours
    [before] = await service.sql("SELECT * FROM exchange_api_keys")
    held = Claims(service.database)
    with held.held(claimed):
        await held.renew()
    assert await service.sql("SELECT * FROM exchange_api_keys") == [before]


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_is_deleted_takes_its_keys_from_whoever_is_at_work_on_them(
    service: KeyService, client: Client, claimed: ApiKey
) -> None:
    held = Claims(service.database)
    with held.held(claimed):
        await service.delete_client(client)
        await held.renew()
        assert await is_due(service)


async def test_a_push_is_claimed_for_as_long_as_it_takes(
    database_url: DatabaseUrl, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "EVERY", timedelta(seconds=0.1))
    go_on = asyncio.Event()
    bridge.faults.before["AddConnector"] = waits_for(go_on)
    async with running(database_url, bridge_target=bridge.target, bridge_wait=PATIENCE) as service:
        adding = asyncio.create_task(service.add_key(await service.add_client()))
        await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "the bridge is asked")
        [first] = await service.sql(UNTIL)
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while await service.sql(UNTIL) == [first]:  # noqa: ASYNC110 - the database has no event of ours
                await asyncio.sleep(0.02)
        go_on.set()
        assert (await adding).trading_bridge_configured


async def test_a_key_that_is_being_added_is_nobody_elses_until_it_is_at_the_bridge(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    """Its claim is in the row that AddApiKey writes: there is no moment in which another replica could take it."""
    go_on = asyncio.Event()
    options: dict[str, Any] = {
        "bridge_target": bridge.target,
        "bridge_wait": PATIENCE,
        "master_key": new_key(),
    }
    async with running(database_url, **options) as service, running(database_url, **options) as other:
        client = await service.add_client()
        loop = ConvergenceLoop(other.database, other.convergence, at_once=8)
        bridge.faults.before["AddConnector"] = waits_for(go_on)
        adding = asyncio.create_task(service.add_key(client))
        await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "the bridge is asked")
        assert await loop.once() == 0
        go_on.set()
        assert (await adding).trading_bridge_configured
        assert await loop.once() == 0
        assert len(bridge.faults.requests("AddConnector")) == 1


# A plan that does not lead through the index by time: what the statement does not ask for is not in order by luck.
UNORDERED = ("SET LOCAL enable_indexscan = off", "SET LOCAL enable_bitmapscan = off")


async def next_due(connection: Connection) -> list[Claimed]:
    return await due_claims.claim_due(connection, limit=1, lease=LEASE, releases=True)


async def next_due_afresh(connection: Connection) -> list[Claimed]:
    return await due_claims.claim_due(connection, limit=1, lease=LEASE, releases=False, afresh=True)


async def next_of_stretch(connection: Connection) -> list[Claimed]:
    stretch = await due_claims.claim_stretch(
        connection, limit=1, lease=LEASE, away_for=[], after=due_claims.BEGINNING
    )
    return stretch.claimed


@pytest.mark.parametrize("next_claimed", [next_due, next_due_afresh, next_of_stretch])
async def test_those_that_have_waited_longest_are_claimed_first(
    service: KeyService, client: Client, next_claimed: Callable[[Connection], Awaitable[list[Claimed]]]
) -> None:
    minutes = (3, 1, 5, 2, 4)
    for waited in minutes:
        await service.add_key(client, label=str(waited))
    # Of every second one the bridge was asked before.
    await service.sql(
        "UPDATE exchange_api_keys SET next_attempt_at = now() - label::int * interval '1 minute', bridge_reason ="
        " CASE WHEN :all_afresh OR label::int % 2 = 0 THEN NULL ELSE 'bridge_error' END",
        all_afresh=next_claimed is next_due_afresh,
    )
    claimed: list[str] = []
    async with service.database.transaction() as connection:
        for each in UNORDERED:
            await connection.execute(text(each))
        for _ in minutes:
            claimed += [each.key.label for each in await next_claimed(connection)]
    assert claimed == ["5", "4", "3", "2", "1"]


async def test_a_renewal_that_fails_as_nobody_foresaw_ends_the_service_and_not_the_renewal_alone(
    database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def mistake(_claims: Claims) -> None:
        await begun.wait()
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(claims, "EVERY", AT_ONCE)
    monkeypatch.setattr(Claims, "renew", mistake)

    async def serve() -> None:
        async with running(database_url):
            begun.set()
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await asyncio.wait_for(serve(), PATIENCE.total_seconds())


SOMEBODY = Caller("somebody")
# What makes a claim, and what the key has to be before.
CLAIMS: dict[str, tuple[str, Callable[[KeyService, ApiKey], Awaitable[object]]]] = {
    "enabled": (
        "disabled = true",
        lambda service, key: service.custody.update(SOMEBODY, key.id, ApiKeyChanges(disabled=False)),
    ),
    "brought back": (
        "is_deleted = true, deleted_at = now()",
        lambda service, key: service.custody.undelete(SOMEBODY, key.id),
    ),
    "tried again": (
        "next_attempt_at = now()",
        lambda service, key: service.convergence.retry(SOMEBODY, key, None),
    ),
}


@pytest.mark.parametrize("change", CLAIMS)
async def test_whoever_has_claimed_a_key_needs_no_connection_to_push_it(
    database_url: DatabaseUrl, bridge: RunningBridge, change: str
) -> None:
    """Where all are taken he would wait for longer than his claim lasts, and then push all the same."""
    before, claims = CLAIMS[change]
    pushed = asyncio.Event()

    async def takes_the_connection_until_then() -> None:
        async with service.database.autocommit():
            await pushed.wait()

    async with running(database_url, bridge_target=bridge.target, pool_size=1) as service:
        added = await service.add_key(await service.add_client())
        key = await service.custody.get(SOMEBODY, UUID(added.id))
        await service.sql(f"UPDATE exchange_api_keys SET {before}")  # noqa: S608 - ours
        bridge.faults.seen.clear()
        # They get the only connection in this order, the first one for a single time.
        claiming = asyncio.ensure_future(claims(service, key))
        taking = asyncio.create_task(takes_the_connection_until_then())
        await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "the key is pushed")
        pushed.set()
        await asyncio.gather(claiming, taking)
        assert (await service.custody.get(SOMEBODY, key.id)).configured
