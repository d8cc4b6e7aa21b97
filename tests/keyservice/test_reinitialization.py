"""Keys are taken to the bridge anew, one or many, and whoever asked for it hears what comes of that attempt."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from keyservice.errands import Tried
from keyservice.store import due_rows
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.engine import Connection
from servicekit.database.url import DatabaseUrl
from tests.support.bridges import RunningBridge, waits_for
from tests.support.key_service import KeyService, running
from tests.support.probe import eventually


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=30), loops=True
    ) as service:
        yield service


async def progress(service: KeyService, **wanted: Any) -> list[pb.ReinitializeApiKeysResponse]:
    return await _all(service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest(**wanted)))


async def _all(stream: AsyncIterable[pb.ReinitializeApiKeysResponse]) -> list[pb.ReinitializeApiKeysResponse]:
    return [each async for each in stream]


async def test_many_keys_are_taken_to_the_bridge_anew_with_the_progress(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    keys = [await service.add_key(client, label=str(number)) for number in range(5)]
    await service.add_key(client, exchange="binance")
    bystander = await service.add_key(await service.add_client())
    bridge.faults.seen.clear()
    both = await asyncio.gather(
        *(progress(service, client_id=client.id, exchange="Kraken") for _ in range(2))
    )
    for told in both:
        assert [(each.total, each.done) for each in told] == [(5, done) for done in range(6)]
        assert not told[0].HasField("api_key")
        assert told[-1].configured == 5
        assert {each.api_key.id for each in told[1:]} == {key.id for key in keys}
    assert bystander.connector_name not in [
        each.account_name for each in bridge.faults.requests("AddConnector")
    ]
    assert [each.total for each in await progress(service, only_unconfigured=True)] == [0]


async def begun_again(service: KeyService, key: ApiKey, bridge: RunningBridge) -> asyncio.Event:
    """One of several attempts at the key is under way, until the event."""
    go_on = asyncio.Event()
    bridge.faults.seen.clear()
    bridge.faults.before["AddConnector"] = waits_for(go_on)
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'pending', bridge_reason = 'bridge_timeout',"
        " next_attempt_at = now(), attempt_count = 2"
    )
    await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "the bridge is asked")
    assert (await service.row(key)).attempt_count == 3
    return go_on


async def test_who_has_a_key_tried_anew_that_is_being_tried_hears_what_comes_of_that(
    service: KeyService, client: Client, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await service.add_key(client)
    go_on = await begun_again(service, key, bridge)
    turned_away, retry = asyncio.Event(), service.convergence.retry

    async def watched(*args: Any) -> Tried | None:
        tried = await retry(*args)
        if tried is None:
            turned_away.set()
        return tried

    monkeypatch.setattr(service.convergence, "retry", watched)
    asking = asyncio.ensure_future(
        service.stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=key.id))
    )
    async with asyncio.timeout(30):
        await turned_away.wait()
    await asyncio.wait({asking}, timeout=0.2)
    assert not asking.done()
    go_on.set()
    assert (await asking).trading_bridge_configured
    assert len(bridge.faults.requests("AddConnector")) == 1


async def test_a_key_that_is_being_tried_is_done_when_something_has_come_of_that(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    go_on = await begun_again(service, await service.add_key(client), bridge)
    call = service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest())
    stream = aiter(call)
    first = await anext(stream)
    assert (first.total, first.done) == (1, 0)
    following = asyncio.ensure_future(anext(stream))
    await asyncio.wait({following}, timeout=0.5)
    assert not following.done()
    go_on.set()
    told = await following
    assert (told.done, told.configured) == (1, 1)


async def test_progress_is_told_with_the_bridge_away_too(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    await service.add_key(client)
    await bridge.stop()
    told = await progress(service)
    assert (told[-1].done, told[-1].configured) == (1, 0)
    assert told[-1].api_key.bridge_status.reason == status.BRIDGE_REASON_BRIDGE_UNAVAILABLE


WAITS_LONG = (
    "UPDATE exchange_api_keys SET bridge_state = 'pending', bridge_reason = 'bridge_timeout', attempt_count = 6,"
    " next_attempt_at = now() + interval '1 hour', configured_at = NULL, configured_instance = NULL"
)


@asynccontextmanager
async def held_by_somebody(service: KeyService, *labels: str) -> AsyncIterator[Connection]:
    """A unit of work has the rows of these keys, until the end."""
    async with service.database.transaction() as connection:
        await connection.execute(
            text("SELECT FROM exchange_api_keys WHERE label = any(:labels) FOR UPDATE"),
            {"labels": list(labels)},
        )
        yield connection


async def test_a_key_that_somebody_holds_just_then_is_made_due_when_he_lets_go_of_it(
    service: KeyService, client: Client
) -> None:
    keys = {label: await service.add_key(client, label=label) for label in ("long", "free", "short")}
    await service.sql(WAITS_LONG)
    async with held_by_somebody(service, "long"):
        async with held_by_somebody(service, "short"):
            staying = aiter(service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest(), timeout=20))
            told = [await anext(staying), await anext(staying)]
            assert [(each.total, each.done) for each in told] == [(3, 0), (3, 1)]
            assert told[1].api_key.id == keys["free"].id
        # Who is still held keeps nobody else waiting.
        assert (await anext(staying)).api_key.id == keys["short"].id
    last = await anext(staying)
    assert (last.done, last.configured, last.api_key.id) == (3, 3, keys["long"].id)


@pytest.mark.parametrize("only_unconfigured", [True, False])
async def test_a_key_that_is_acknowledged_by_whoever_holds_it_just_then_is_not_pushed_again(
    service: KeyService, client: Client, bridge: RunningBridge, only_unconfigured: bool
) -> None:
    await service.add_key(client, label="held")
    await service.sql(WAITS_LONG)
    bridge.faults.seen.clear()
    async with held_by_somebody(service, "held") as connection:
        request = pb.ReinitializeApiKeysRequest(only_unconfigured=only_unconfigured)
        staying = aiter(service.stub.ReinitializeApiKeys(request, timeout=20))
        assert (await anext(staying)).total == 1
        await connection.execute(
            text(
                "UPDATE exchange_api_keys SET bridge_state = 'configured', bridge_reason = NULL, attempt_count = 0,"
                " next_attempt_at = NULL, configured_at = clock_timestamp(), configured_instance = :run"
            ),
            {"run": bridge.instance_id},
        )
    last = await anext(staying)
    assert (last.done, last.configured) == (1, 1)
    assert not bridge.faults.requests("AddConnector")


async def test_what_a_call_has_pushed_is_not_pushed_again_by_another_one_that_comes_to_it_late(
    service: KeyService, client: Client, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [str(number) for number in range(20)]
    for label in labels:
        await service.add_key(client, label=label)
    bridge.faults.seen.clear()
    make, done, begun = due_rows.make_held_due, asyncio.Event(), []

    async def in_turn(connection: Connection, ids: Sequence[UUID], **kwargs: Any) -> due_rows.Selected:
        begun.append(kwargs["since"])
        if kwargs["since"] != begun[0] and not done.is_set():
            return due_rows.Selected([], list(ids))
        return await make(connection, ids, **kwargs)

    monkeypatch.setattr(due_rows, "make_held_due", in_turn)
    request = pb.ReinitializeApiKeysRequest()
    async with held_by_somebody(service, *labels):
        calls = [aiter(service.stub.ReinitializeApiKeys(request, timeout=30)) for _ in range(2)]
        for call in calls:
            assert (await anext(call)).total == len(labels)
        await eventually(lambda: len(set(begun)) == 2, "both wait for what is held")
    told = [asyncio.ensure_future(_all(call)) for call in calls]
    await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
    done.set()
    for each in await asyncio.gather(*told):
        assert [progress.done for progress in each] == list(range(1, len(labels) + 1))
    assert len(bridge.faults.requests("AddConnector")) == len(labels)


async def test_callers_who_go_away_leave_no_more_behind_than_one_statement_at_a_time(
    service: KeyService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await service.add_key(client)
    make, under_way, most = due_rows.make_held_due, 0, 0

    async def counted(*args: Any, **kwargs: Any) -> due_rows.Selected:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await make(*args, **kwargs)
        finally:
            under_way -= 1

    monkeypatch.setattr(due_rows, "make_held_due", counted)
    async with held_by_somebody(service, key.label):
        for _ in range(20):
            call = service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest())
            await anext(aiter(call))
            call.cancel()
    assert [each.done for each in await progress(service)] == [0, 1]
    assert most == 1


async def test_a_key_is_not_done_when_an_attempt_is_taken_over_but_when_something_has_come_of_that(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    await service.add_key(client)
    go_on = asyncio.Event()
    bridge.faults.seen.clear()
    bridge.faults.before["AddConnector"] = waits_for(go_on)
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'pending', configured_at = NULL, configured_instance = NULL,"
        " attempt_count = 1, last_attempt_at = clock_timestamp(),"
        " next_attempt_at = clock_timestamp() + interval '1 second'"
    )
    stream = aiter(service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest()))
    assert (await anext(stream)).total == 1
    following = asyncio.ensure_future(anext(stream))
    await eventually(lambda: bool(bridge.faults.requests("AddConnector")), "somebody takes it over")
    await asyncio.wait({following}, timeout=0.5)
    assert not following.done()
    go_on.set()
    assert (await following).configured == 1


async def test_who_goes_away_has_what_was_held_made_due_all_the_same(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'failed', bridge_reason = 'credentials_rejected',"
        " next_attempt_at = NULL"
    )
    async with held_by_somebody(service, key.label):
        call = service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest())
        assert (await anext(aiter(call))).total == 1
        call.cancel()
    await service.becomes(key, status.BRIDGE_STATE_CONFIGURED)


@pytest.mark.parametrize("off", ["is_deleted = true, deleted_at = now()", "disabled = true"])
async def test_a_key_that_is_deleted_or_disabled_by_whoever_holds_it_is_done_and_not_made_due(
    database_url: DatabaseUrl, bridge: RunningBridge, off: str
) -> None:
    async with running(database_url, bridge_target=bridge.target) as service:
        key = await service.add_key(await service.add_client(), label="held")
        await service.sql(WAITS_LONG)
        async with held_by_somebody(service, "held") as connection:
            staying = aiter(service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest(), timeout=20))
            assert (await anext(staying)).total == 1
            removed = "bridge_state = 'removed', bridge_reason = NULL, next_attempt_at = NULL"
            await connection.execute(text(f"UPDATE exchange_api_keys SET {off}, {removed}"))  # noqa: S608 - ours
        last = await anext(staying)
        assert (last.total, last.done, last.configured) == (1, 1, 0)
        row = await service.row(key)
        assert (row.bridge_state, row.next_attempt_at) == ("removed", None)
