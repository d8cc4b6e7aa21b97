"""What nobody waits for: keys reach the bridge after an outage, a restart, a crash, and whoever watches hears of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import grpc
import pytest
from sqlalchemy import text

from keyservice import convergence_loop
from keyservice.bridge_records import Outcome
from keyservice.convergence import Convergence
from keyservice.convergence_loop import ConvergenceLoop
from keyservice.enums import BridgeReason
from keyservice.store.due_claims import claim_due
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import FailedPrecondition
from tests.support.bridges import RunningBridge, refuses
from tests.support.key_service import KeyService, key_request, new_credentials, refusal, running
from tests.support.probe import eventually
from tests.support.sealed import new_key

A_SECOND = timedelta(seconds=1)


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=A_SECOND, loops=True
    ) as service:
        yield service


async def holds(bridge: RunningBridge, service: KeyService) -> None:
    """Wait until the bridge holds exactly what it should, and every row says so."""
    rows = await service.sql(
        "SELECT client_id, connector_name, revision FROM exchange_api_keys"
        " WHERE NOT is_deleted AND NOT disabled"
    )
    wanted = {(f"client_{row.client_id}", row.connector_name): row.revision for row in rows}

    def there() -> bool:
        return {place: each.revision for place, each in bridge.held().items()} == wanted

    await eventually(there, "the bridge holds the live keys at their latest revisions")
    waiting = "SELECT id FROM exchange_api_keys WHERE bridge_state IN ('pending', 'removing')"
    async with asyncio.timeout(10):
        while await service.sql(waiting):  # noqa: ASYNC110 - the database has no event of ours
            await asyncio.sleep(0.02)


async def test_what_happened_during_an_outage_is_made_good_when_the_bridge_is_back(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    kept, gone, replaced = [await service.add_key(client, label=label) for label in "abc"]
    await bridge.stop()
    added = await service.add_key(client, label="during")
    assert added.bridge_status.reason == status.BRIDGE_REASON_BRIDGE_UNAVAILABLE
    await service.rotate_key(kept)
    last = new_credentials()
    await service.rotate_key(kept, last)
    await service.delete_key(gone)
    await service.delete_key(replaced)
    successor = await service.add_key(client, label="c")
    await bridge.start()
    await holds(bridge, service)
    used = bridge.held()[f"client_{client.id}", "kraken:a"].credentials
    assert used.api_key == last.api_key
    pushed = [request.connector_name for request in bridge.faults.requests("AddConnector")]
    assert pushed.count(kept.connector_name) == 2
    assert (await service.get_key(successor)).trading_bridge_configured


async def test_a_bridge_that_was_restarted_gets_back_what_it_held(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    for number in range(30):
        await service.add_key(client, label=str(number))
    off = await service.add_key(client, label="off")
    await service.delete_key(off)
    await bridge.restart()
    await holds(bridge, service)
    rows = await service.sql(
        "SELECT DISTINCT configured_instance FROM exchange_api_keys WHERE NOT is_deleted"
    )
    assert [row[0] for row in rows] == [bridge.instance_id]


async def test_replicas_share_the_work_and_never_push_a_revision_twice(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    key = new_key()
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                running(
                    database_url,
                    bridge_target=bridge.target,
                    bridge_wait=A_SECOND,
                    master_key=key,
                    loops=number > 0,
                )
            )
            for number in range(3)
        ]
        client = await replicas[0].add_client()
        await bridge.stop()
        for number in range(40):
            await replicas[0].add_key(client, label=str(number))
        bridge.faults.seen.clear()
        await bridge.start()
        await holds(bridge, replicas[0])
        pushed = [request.connector_name for request in bridge.faults.requests("AddConnector")]
        assert len(pushed) == len(set(pushed)) == 40


async def test_two_who_claim_at_the_same_moment_get_different_keys_and_do_not_wait(
    database_url: DatabaseUrl,
) -> None:
    async with running(database_url) as service:
        client = await service.add_client()
        for number in range(4):
            await service.add_key(client, label=str(number))
        await service.sql("UPDATE exchange_api_keys SET next_attempt_at = now()")
        async with (
            asyncio.timeout(10),
            service.database.transaction() as one,
            service.database.transaction() as other,
        ):
            first = await claim_due(one, limit=2, lease=A_SECOND, releases=False)
            second = await claim_due(other, limit=4, lease=A_SECOND, releases=False)
    assert (len(first), len(second)) == (2, 2)
    assert len({claimed.key.id for claimed in (*first, *second)}) == 4


async def test_a_key_whose_outcome_has_to_wait_keeps_no_other_one_from_the_bridge(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    async with running(database_url, bridge_target=bridge.target) as service:
        client = await service.add_client()
        keys = [await service.add_key(client, label=label) for label in "ab"]
        bridge.faults.seen.clear()
        await service.sql(
            "UPDATE exchange_api_keys SET bridge_state = 'pending', next_attempt_at = now(), attempt_count = 0"
        )
        loop = ConvergenceLoop(service.database, service.convergence, at_once=1)
        assert await loop.once() == 1
        async with service.database.transaction() as connection:
            await connection.execute(text("SELECT FROM exchange_api_keys WHERE attempt_count > 0 FOR UPDATE"))
            await eventually(lambda: len(bridge.faults.seen) == 1, "the bridge has the first key")
            async with asyncio.timeout(10):
                while not await loop.once():  # noqa: ASYNC110 - the answer is on its way
                    await asyncio.sleep(0.01)
            await eventually(lambda: len(bridge.faults.seen) == 2, "the bridge has the second key")
        async with asyncio.timeout(10):
            for key in keys:
                while not (await service.get_key(key)).trading_bridge_configured:  # noqa: ASYNC110 - asked for
                    await asyncio.sleep(0.01)


async def test_one_key_a_second_is_sent_although_nobody_seems_to_be_there(
    database_url: DatabaseUrl, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(convergence_loop, "monotonic", lambda: now)
    async with running(database_url, bridge_target=bridge.target) as service:
        client = await service.add_client()
        for label in "abc":
            await service.add_key(client, label=label)
        absence = Outcome(BridgeReason.BRIDGE_UNAVAILABLE, code="UNAVAILABLE")
        monkeypatch.setattr(Convergence, "absence", absence)
        loop = ConvergenceLoop(service.database, service.convergence, at_once=4)

        async def sent_in_a_turn() -> int:
            bridge.faults.seen.clear()
            await service.sql(
                "UPDATE exchange_api_keys SET bridge_state = 'pending', next_attempt_at = now()"
            )
            await loop.once()
            await service.convergence.work.end()
            return len(bridge.faults.requests("AddConnector"))

        assert await sent_in_a_turn() == 0
        now += 1
        assert await sent_in_a_turn() == 1
        assert await sent_in_a_turn() == 0
        now += 1
        assert await sent_in_a_turn() == 1
        monkeypatch.setattr(Convergence, "absence", None)
        assert await sent_in_a_turn() == 3


async def test_the_claim_of_someone_who_died_is_taken_over(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'pending', attempt_count = 1,"
        " next_attempt_at = now() + interval '1 second'"
    )
    await bridge.running.remove(key.connector_name, key.revision, account_name=f"client_{client.id}")
    await service.sql("UPDATE exchange_api_keys SET revision = nextval('key_revisions')")
    await holds(bridge, service)


async def test_what_cannot_succeed_is_not_tried_again_until_it_is_asked_for(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    bridge.faults.before["AddConnector"] = refuses(FailedPrecondition("no", reason="CREDENTIALS_REJECTED"))
    key = await service.add_key(client)
    bridge.faults.clear()
    other = await service.add_key(client, label="other")
    assert (await service.get_key(key)).bridge_status.state == status.BRIDGE_STATE_FAILED
    assert len(bridge.faults.requests("AddConnector")) == 2
    request = pb.ReinitializeApiKeyRequest(api_key_id=key.id)
    answer = await service.stub.ReinitializeApiKey(request)
    assert answer.trading_bridge_configured
    assert answer.api_key.id == key.id
    await service.delete_key(other)
    told = await refusal(service.stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=other.id)))
    assert told.reason == "API_KEY_DELETED"


async def test_verification_keeps_what_the_exchange_allows(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client, exchange="paper")
    answer = await service.stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=key.id))
    assert answer.permissions == answer.api_key.permissions
    assert answer.api_key.HasField("verify_time")
    assert answer.message.startswith("The exchange accepts the credentials.")
    bridge.faults.before["VerifyConnector"] = refuses(FailedPrecondition("no", reason="CREDENTIALS_REJECTED"))
    told = await refusal(service.stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=key.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_REJECTED")


async def test_who_has_a_key_verified_that_the_bridge_lost_hears_why_it_cannot_be_taken_there(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client, exchange="paper")
    await bridge.running.remove(key.connector_name, key.revision, account_name=f"client_{client.id}")
    bridge.faults.before["AddConnector"] = refuses(FailedPrecondition("no", reason="EXCHANGE_UNSUPPORTED"))
    told = await refusal(service.stub.VerifyApiKey(pb.VerifyApiKeyRequest(api_key_id=key.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EXCHANGE_UNSUPPORTED")


async def test_a_watcher_sees_what_is_there_and_then_each_change_whichever_replica_makes_it(
    service: KeyService, client: Client, database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    before = await service.add_key(client, label="before")
    call = service.stub.WatchApiKeys(pb.WatchApiKeysRequest(client_id=client.id), timeout=20)
    stream = aiter(call)

    async def until(key: ApiKey) -> ApiKey:
        while True:
            seen = (await anext(stream)).api_key
            if seen == key:
                return seen

    await until(before)
    await service.add_key(await service.add_client())
    added = await service.add_key(client, label="after")
    await until(added)
    deleted = await service.delete_key(added)
    await until(deleted)
    await service.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        " AND datname = current_database()"
    )
    await until(before)
    call.cancel()


async def test_a_key_is_verified_before_it_is_acknowledged_where_that_was_asked(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    answer = await service.stub.AddApiKey(key_request(client, exchange="paper", verify=True))
    assert answer.trading_bridge_configured
    [request] = bridge.faults.requests("AddConnector")
    assert request.verify
