"""WatchApiKeys where it is hard: a watcher that does not read, many changes at once, a connection that says nothing any
more, and a replica that stops.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Never
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from keyservice import watching
from keyservice.store import notices
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from keyservice.watcher import MOST_UNREAD
from keyservice.watching import CHANNEL
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Unavailable
from servicekit.rpc.status import from_rpc_error
from tests.support.key_service import KeyService, running
from tests.support.probe import eventually, plain_channel
from tests.support.sealed import new_key

SHORT = timedelta(seconds=3)
LISTENERS = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    " AND state = 'idle'"
)


@pytest.fixture
async def service(database_url: DatabaseUrl) -> AsyncIterator[KeyService]:
    async with running(database_url, loops=True) as service:
        yield service


@pytest.fixture
async def hasty(database_url: DatabaseUrl) -> AsyncIterator[KeyService]:
    """One that soon cuts a watcher, and soon gives up a connection; also one that it has only just opened."""
    async with running(database_url, loops=True, watch_patience=SHORT) as service:
        yield service


async def gone(service: KeyService, listener: int) -> None:
    """Wait until nobody watches any more, and the connection that was for all of them is closed."""
    query = "SELECT pid FROM pg_stat_activity WHERE pid = :pid"
    async with asyncio.timeout(30):
        while await service.sql(query, pid=listener):  # noqa: ASYNC110 - the database has no event of ours
            await asyncio.sleep(0.05)


class Watch:
    """A call of WatchApiKeys."""

    def __init__(self, service: KeyService, client_id: str, seconds: float = 60) -> None:
        request = pb.WatchApiKeysRequest(client_id=client_id)
        self.call = service.stub.WatchApiKeys(request, timeout=seconds)
        self._keys = aiter(self.call)

    async def next(self) -> ApiKey:
        return (await anext(self._keys)).api_key

    async def until(self, label: str) -> ApiKey:
        while (key := await self.next()).label != label:
            pass
        return key


async def rename(service: KeyService, key: ApiKey, label: str) -> ApiKey:
    wanted = ApiKey(id=key.id, label=label)
    request = pb.UpdateApiKeyRequest(api_key=wanted, update_mask=FieldMask(paths=["label"]))
    return (await service.stub.UpdateApiKey(request)).api_key


async def change(service: KeyService, *key_ids: UUID) -> None:
    """Say that these keys have changed, as another replica does."""
    async with service.database.autocommit() as connection:
        await notices.send(connection, CHANNEL, key_ids)


async def add_many(service: KeyService, client: Client) -> None:
    """More than gRPC takes for a caller who does not read: on the loopback that is some megabytes."""
    await service.sql(
        "INSERT INTO exchange_api_keys (client_id, exchange, label, connector_name, bridge_state)"
        " SELECT :client, 'kraken', n || repeat('x', 5000), n::text, 'removed' FROM generate_series(1, 3000) n",
        client=UUID(client.id),
    )


async def test_a_watcher_that_takes_nothing_is_cut_and_told_why(hasty: KeyService) -> None:
    client = await hasty.add_client()
    await add_many(hasty, client)
    watch = Watch(hasty, client.id)
    await watch.next()
    [[listener]] = await hasty.sql(LISTENERS)

    async def keep_changing() -> None:
        while True:
            await change(hasty, uuid4())
            await asyncio.sleep(0.05)

    changing = asyncio.create_task(keep_changing())
    await gone(hasty, listener)
    changing.cancel()
    told = from_rpc_error(await ended(watch.call))
    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
    assert "call again" in told.message


async def test_a_watcher_that_reads_is_not_cut_by_a_flood_of_changes_and_misses_none_of_them(
    database_url: DatabaseUrl,
) -> None:
    async with running(database_url, loops=True) as service:
        client = await service.add_client()
        kept, gone = [await service.add_key(client, label=label) for label in ("kept", "gone")]
        await service.sql("UPDATE exchange_api_keys SET bridge_state = 'configured'")
        await add_many(service, client)
        watch = Watch(service, client.id)
        await watch.next()
        # He has more to read than he gets at once, so what changes now waits for him.
        await service.sql(
            "UPDATE exchange_api_keys SET is_deleted = true, deleted_at = now() WHERE label = 'gone'"
        )
        await change(service, UUID(gone.id), *(uuid4() for _ in range(2 * MOST_UNREAD)))
        await rename(service, kept, "renamed")
        seen: set[tuple[str, bool]] = set()
        while not {("renamed", False), ("gone", True)} <= seen:
            key = await watch.next()
            seen.add((key.label, key.HasField("delete_time")))
        watch.call.cancel()


async def test_a_connection_that_says_nothing_any_more_is_noticed_and_replaced(hasty: KeyService) -> None:
    key = await hasty.add_key(await hasty.add_client(), label="before")
    watch = Watch(hasty, key.client_id)
    await watch.until("before")
    [[silent]] = await hasty.sql(LISTENERS)
    os.kill(silent, signal.SIGSTOP)
    try:
        await rename(hasty, key, "after")
        assert (await watch.until("after")).id == key.id
    finally:
        os.kill(silent, signal.SIGCONT)
    watch.call.cancel()


async def test_what_was_deleted_is_told_however_long_nothing_could_be_heard(
    service: KeyService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where changes are heard past a pooler, and that way alone is cut."""
    failures = 0

    def cut(*_: object) -> Never:
        nonlocal failures
        failures += 1
        raise Unavailable("It is away.")

    await service.add_key(client, label="before")
    watch = Watch(service, client.id)
    await watch.until("before")
    monkeypatch.setattr(watching, "LOOK_BACK", timedelta(0))
    with monkeypatch.context() as patch:
        patch.setattr(watching, "listening", cut)
        [[listener]] = await service.sql(LISTENERS)
        await service.sql("SELECT pg_terminate_backend(:pid)", pid=listener)
        await eventually(lambda: failures > 0, "it is noticed")
        # By whom the bridge is told at once: no later attempt tells of it again.
        await service.sql(
            "UPDATE exchange_api_keys SET is_deleted = true, deleted_at = now(), bridge_state = 'removed'"
        )
        so_far = failures
        await eventually(lambda: failures > so_far + 1, "it goes on")
    while not (await watch.next()).HasField("delete_time"):
        pass
    watch.call.cancel()


async def test_a_watcher_who_comes_when_the_last_one_has_gone_gets_everything_once(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client, label="before")
    await service.sql("UPDATE exchange_api_keys SET bridge_state = 'configured'")
    first = Watch(service, client.id)
    await first.until("before")
    [[listener]] = await service.sql(LISTENERS)
    first.call.cancel()
    await gone(service, listener)
    second = Watch(service, client.id)
    await second.until("before")
    await rename(service, key, "after")
    assert (await second.next()).label == "after"
    second.call.cancel()


async def test_what_a_replica_changed_last_is_told_although_it_stops(database_url: DatabaseUrl) -> None:
    master_key = new_key()
    async with running(database_url, loops=True, master_key=master_key) as listener:
        client = await listener.add_client()
        key = await listener.add_key(client, label="before")
        # One that nobody takes to the bridge: what comes of that would be told as well.
        await listener.sql("UPDATE exchange_api_keys SET bridge_state = 'configured'")
        watch = Watch(listener, client.id)
        await watch.until("before")
        async with running(database_url, master_key=master_key) as stopping:
            await rename(stopping, key, "after")
        assert (await watch.until("after")).id == key.id
        watch.call.cancel()


@pytest.mark.parametrize("method", ["WatchApiKeys", "ReinitializeApiKeys"])
async def test_streams_end_when_their_replica_stops(database_url: DatabaseUrl, method: str) -> None:
    """Also one that waits for keys which no loop works off any more; and long before their grace is over."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(database_url, shutdown_grace=timedelta(hours=1)))
        client = await service.add_client()
        await service.add_key(client)
        async with plain_channel(service.port) as channel:
            request = getattr(pb, f"{method}Request")(client_id=client.id)
            call: Any = getattr(KeyServiceStub(channel), method)(request, timeout=60)
            await call.initial_metadata()
            stopping = asyncio.create_task(stack.aclose())
            told = from_rpc_error(await ended(call))
            await stopping
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def ended(call: Any) -> grpc.aio.AioRpcError:
    """The error that a stream ends with; whatever came before is read."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async for _ in call:
            pass
    return error.value
