"""What a replica can't send it leaves to those that can, and what has no answer keeps nobody else waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from keyservice import convergence_loop
from keyservice.breaker import LOOKS, NO_ACCOUNT, Breaker, Sign
from keyservice.bridge_records import Outcome
from keyservice.convergence_loop import ConvergenceLoop
from keyservice.enums import BridgeReason
from keyservice.store import due_claims
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.call import Call
from tests.support.bridges import RunningBridge
from tests.support.key_service import NOBODY, KeyService, running
from tests.support.sealed import add_rows, new_key

A_SECOND = timedelta(seconds=1)
AWAY = Outcome(BridgeReason.BRIDGE_UNAVAILABLE, asked=False)
DUE = "UPDATE exchange_api_keys SET bridge_state = 'pending', next_attempt_at = now()"


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(database_url, bridge_target=bridge.target) as service:
        yield service


def all_are_away(breaker: Breaker, _client: Client) -> None:
    for _ in range(LOOKS):
        breaker.failed(NO_ACCOUNT, Sign.AWAY, AWAY, A_SECOND)


def one_is_away(breaker: Breaker, client: Client) -> None:
    breaker.failed(client.account_name, Sign.AWAY, AWAY, A_SECOND)


@pytest.mark.parametrize("is_away", [all_are_away, one_is_away])
@pytest.mark.parametrize("state", ["pending", "removing"])
async def test_what_is_not_sent_costs_no_pause_and_is_then_left_to_who_can_send_it(
    service: KeyService,
    client: Client,
    bridge: RunningBridge,
    breaker: Breaker,
    monkeypatch: pytest.MonkeyPatch,
    is_away: Any,
    state: str,
) -> None:
    monkeypatch.setattr(convergence_loop, "_TRY_EVERY", timedelta(hours=1))
    key = await service.add_key(client)
    bridge.faults.seen.clear()
    is_away(breaker, client)
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = :state, attempt_count = 0, next_attempt_at = now(),"
        " disabled = :disabled",
        state=state,
        disabled=state == "removing",
    )
    loop = ConvergenceLoop(service.database, service.convergence, at_once=8)
    assert await loop.once() == 1
    await service.convergence.work.end()
    assert not bridge.faults.seen
    row = await service.row(key)
    assert (row.bridge_reason, row.attempt_count) == ("bridge_unavailable", 0)
    assert row.next_attempt_at <= datetime.now(UTC) + A_SECOND
    await service.sql("UPDATE exchange_api_keys SET next_attempt_at = now()")
    assert await loop.once() == 0
    breaker.answered(NO_ACCOUNT)
    assert await loop.once() == 1
    await service.convergence.work.end()
    assert len(bridge.faults.seen) == 1


async def test_a_replica_that_is_cut_off_from_the_bridge_keeps_nothing_from_it(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    keys, master_key = 400, new_key()
    async with AsyncExitStack() as replicas:

        async def replica(target: str, *, loops: bool = True) -> KeyService:
            return await replicas.enter_async_context(
                running(
                    database_url,
                    bridge_target=target,
                    bridge_wait=A_SECOND,
                    master_key=master_key,
                    loops=loops,
                )
            )

        idle = await replica(bridge.target, loops=False)
        client = await idle.add_client()
        later = datetime.now(UTC) + timedelta(hours=1)
        await add_rows(idle.database, idle.keyring, UUID(client.id), keys, next_attempt_at=later)
        cut_off = await replica(NOBODY)
        await replica(bridge.target)
        # The one key that is sent each second all the same may be the last one several times, with growing pauses.
        async with asyncio.timeout(60):
            while cut_off.bridge.absence is None:  # noqa: ASYNC110 - it has to look first
                await asyncio.sleep(0.02)
            await idle.sql("UPDATE exchange_api_keys SET next_attempt_at = now()")
            while len(bridge.held()) < keys:  # noqa: ASYNC110 - by both
                await asyncio.sleep(0.02)


async def test_a_bridge_that_hangs_behind_a_balancer_keeps_the_keys_of_the_others_waiting_for_a_moment_only(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    hung, served, at_once, master_key = 100, 20, 8, new_key()
    moment, bridge_timeout = timedelta(seconds=0.3), 20
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=moment, master_key=master_key
    ) as service:
        bad, good = await service.add_client(), await service.add_client()
        now = datetime.now(UTC)

        async def hangs_for_one(request: Any, _call: Call) -> None:
            if request.account_name == bad.account_name:
                await asyncio.Event().wait()

        bridge.faults.before["AddConnector"] = hangs_for_one
        await add_rows(service.database, service.keyring, UUID(bad.id), hung, next_attempt_at=now - A_SECOND)
        await add_rows(service.database, service.keyring, UUID(good.id), served, next_attempt_at=now)
        loop = ConvergenceLoop(service.database, service.convergence, at_once=at_once)
        async with asyncio.timeout(bridge_timeout / 2):
            while len(bridge.held()) < served:
                await loop.once()
                await asyncio.sleep(0.01)
        # What is known of the others is told, and one of them is asked about again once somebody has an answer.
        assert len(bridge.faults.requests("AddConnector")) <= at_once + served
        told = "SELECT count(*) FROM exchange_api_keys WHERE bridge_reason = 'bridge_timeout' AND attempt_count = 0"
        async with asyncio.timeout(10):
            while await service.sql(told) != [(hung - at_once,)]:
                await loop.once()
                await asyncio.sleep(0.01)


async def test_what_is_under_way_without_an_answer_ends_soon_where_there_is_much_of_it(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    """As where very many accounts are on a bridge that hangs: those of others would find no room for all that time."""
    at_once, master_key = 1, new_key()
    async with running(
        database_url,
        bridge_target=bridge.target,
        bridge_wait=timedelta(seconds=0.1),
        master_key=master_key,
    ) as service:
        hung = {(await service.add_client()).account_name for _ in range(20)}
        good = await service.add_client()

        async def hangs_for_some(request: Any, _call: Call) -> None:
            if request.account_name in hung:
                await asyncio.Event().wait()

        bridge.faults.before["AddConnector"] = hangs_for_some
        now = datetime.now(UTC)
        for account_name in hung:
            client_id = UUID(account_name.removeprefix("client_"))
            await add_rows(service.database, service.keyring, client_id, 1, next_attempt_at=now - A_SECOND)
        await add_rows(service.database, service.keyring, UUID(good.id), 1, next_attempt_at=now)
        loop = ConvergenceLoop(service.database, service.convergence, at_once=at_once)
        async with asyncio.timeout(10):
            while not bridge.held():
                await loop.once()
                await asyncio.sleep(0.01)


async def test_what_can_be_sent_is_found_behind_more_that_can_not_than_a_claim_looks_at(
    service: KeyService, bridge: RunningBridge, breaker: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, there, at_once = 16, 3, 2
    monkeypatch.setattr(due_claims, "_STRETCH", 4)
    bad, good = await service.add_client(), await service.add_client()
    one_is_away(breaker, bad)
    since = datetime.now(UTC) - timedelta(minutes=1)
    for client in (*[bad] * away, *[good] * there, bad):
        since += A_SECOND
        await add_rows(service.database, service.keyring, UUID(client.id), 1, next_attempt_at=since)
    tried = "UPDATE exchange_api_keys SET bridge_reason = 'bridge_unavailable' WHERE next_attempt_at < :since"
    await service.sql(tried, since=since)
    loop = ConvergenceLoop(service.database, service.convergence, at_once=at_once)
    claimed = []
    for _ in range(8):
        claimed.append(await loop.once())
        await service.convergence.work.end()
    # What has not been tried is told at once, wherever it is. Nothing is passed over because there was no room.
    assert claimed == [1, 0, 0, 0, 2, 1, 0, 0]
    assert len(bridge.held()) == there
    # And then again from the beginning: somebody may be there by now.
    breaker.answered(bad.account_name)
    one_is_away(breaker, good)
    assert await loop.once() == at_once


async def test_a_key_that_waits_past_its_time_says_so(
    service: KeyService, client: Client, breaker: Breaker
) -> None:
    one_is_away(breaker, client)
    key: ApiKey = await service.add_key(client)
    assert "will be retried at " in key.bridge_status.warning
    await service.sql("UPDATE exchange_api_keys SET next_attempt_at = now() - interval '1 minute'")
    warning = (await service.get_key(key)).bridge_status.warning
    assert "will be retried as soon as the Trading Bridge can be asked;" in warning
