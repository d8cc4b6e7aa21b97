"""The rolling check finds what no look at one bridge shows, and puts it right."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import grpc
import pytest

from keyservice import rolling_check
from keyservice.rolling_check import RollingCheck
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import FailedPrecondition, Unavailable
from tests.support.bridges import RunningBridge, aborts, refuses
from tests.support.key_service import KeyService, running
from tests.support.probe import eventually
from tests.support.sealed import add_rows


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(database_url, bridge_target=bridge.target, loops=True) as service:
        yield service


async def test_the_missing_the_extra_and_the_outdated_are_put_right_and_nothing_else_is_touched(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    account = f"client_{client.id}"
    fine, missing, outdated = [await service.add_key(client, label=label) for label in "abc"]
    extra = await service.add_key(client, label="extra")
    await bridge.running.remove(missing.connector_name, missing.revision, account_name=account)
    await service.sql(
        "UPDATE exchange_api_keys SET revision = nextval('key_revisions') WHERE id = :id",
        id=UUID(outdated.id),
    )
    await service.sql(
        "UPDATE exchange_api_keys SET is_deleted = true, deleted_at = now(), bridge_state = 'removed'"
        " WHERE id = :id",
        id=UUID(extra.id),
    )
    check = RollingCheck(service.database, service.bridge, service.convergence, every=timedelta(hours=1))
    assert await check.round(timedelta(0)) == 3

    def right() -> bool:
        return {name for _, name in bridge.held()} == {"kraken:a", "kraken:b", "kraken:c"}

    await eventually(right, "the account is as it should be")
    await eventually(
        lambda: bridge.held()[account, "kraken:c"].revision > outdated.revision, "the outdated key is renewed"
    )
    assert bridge.held()[account, "kraken:a"].revision == fine.revision
    async with asyncio.timeout(10):
        for key in (missing, outdated):
            while not (await service.get_key(key)).trading_bridge_configured:  # noqa: ASYNC110 - asked for
                await asyncio.sleep(0.01)
    assert await check.round(timedelta(0)) == 0


async def test_a_key_that_another_run_holds_by_now_is_noted_and_not_pushed_again(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    async with running(database_url, bridge_target=bridge.target) as service:
        key = await service.add_key(await service.add_client())
        await service.sql("UPDATE exchange_api_keys SET configured_instance = 'another'")
        check = RollingCheck(service.database, service.bridge, service.convergence, every=timedelta(hours=1))
        assert await check.round(timedelta(0)) == 0
        assert (await service.row(key)).configured_instance == bridge.instance_id
        assert len(bridge.faults.requests("AddConnector")) == 1


async def test_what_a_key_was_before_its_new_credentials_were_refused_is_not_left_there(
    database_url: DatabaseUrl, bridge: RunningBridge
) -> None:
    async with running(database_url, bridge_target=bridge.target) as service:
        key = await service.add_key(await service.add_client())
        bridge.faults.before["AddConnector"] = refuses(
            FailedPrecondition("no", reason="CREDENTIALS_REJECTED")
        )
        bridge.faults.before["RemoveConnector"] = aborts(grpc.StatusCode.UNIMPLEMENTED)
        rotated = await service.rotate_key(key)
        assert rotated.bridge_status.state == status.BRIDGE_STATE_FAILED
        assert bridge.held()
        bridge.faults.clear()
        check = RollingCheck(service.database, service.bridge, service.convergence, every=timedelta(hours=1))
        assert await check.round(timedelta(0)) == 1
        assert not bridge.held()
        assert await check.round(timedelta(0)) == 0
        answer = await service.stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=key.id))
        assert answer.trading_bridge_configured


async def test_a_round_begins_anywhere_comes_by_all_and_goes_on_where_an_error_ended_it(
    database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database_url) as service:
        clients = sorted([UUID((await service.add_client()).id) for _ in range(5)])
        for client_id in clients:
            await add_rows(service.database, service.keyring, client_id, 1)
        monkeypatch.setattr(rolling_check, "uuid4", lambda: clients[2])
        check = RollingCheck(service.database, service.bridge, service.convergence, every=timedelta(hours=1))
        checked: list[UUID] = []
        failing = {clients[0]}

        async def checks(client_id: UUID) -> int:
            checked.append(client_id)
            if client_id in failing:
                raise Unavailable("It is away.")
            return 1

        monkeypatch.setattr(check, "check", checks)
        with pytest.raises(Unavailable):
            await check.round(timedelta(0))
        assert checked == [clients[3], clients[4], clients[0]]
        failing.clear()
        checked.clear()
        assert await check.round(timedelta(0)) == len(clients)
        assert checked == [*clients[1:], clients[0]]


async def test_no_two_starts_begin_with_the_same_account(
    database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database_url) as service:
        for _ in range(20):
            client = await service.add_client()
            await add_rows(service.database, service.keyring, UUID(client.id), 1)
        first: set[UUID] = set()

        async def begins(client_id: UUID) -> int:
            first.add(client_id)
            raise Unavailable("It is away.")

        for _ in range(20):
            check = RollingCheck(
                service.database, service.bridge, service.convergence, every=timedelta(hours=1)
            )
            monkeypatch.setattr(check, "check", begins)
            with pytest.raises(Unavailable):
                await check.round(timedelta(0))
        assert len(first) > 1
