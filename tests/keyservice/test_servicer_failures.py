"""The database fails, or the caller goes away: nothing is left half-written."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
import pytest

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.status import from_rpc_error
from tests.support.key_service import (
    KeyService,
    key_request,
    new_credentials,
    refusal,
)
from tests.support.old_database import plain_connection
from tests.support.probe import eventually, failure

PATIENCE = 10.0


async def state(service: KeyService) -> list[Any]:
    return [
        await service.sql(f"SELECT t.ctid, t.xmin, t::text FROM {table} t ORDER BY t.ctid")  # noqa: S608 - ours
        for table in ("clients", "exchange_api_keys", "requests", "audit_events")
    ]


@asynccontextmanager
async def audit_held_up(url: DatabaseUrl) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Nobody can write the audit meanwhile; what is given waits for someone who tries, and says by which process."""
    async with plain_connection(url) as holder, plain_connection(url) as watcher:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE audit_events IN EXCLUSIVE MODE")

        async def someone_waits() -> int:
            async with asyncio.timeout(PATIENCE):
                while True:
                    pid = await watcher.fetchval(
                        "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'audit_events'::regclass"
                    )
                    if pid is not None:
                        return int(pid)
                    await asyncio.sleep(0.01)

        try:
            yield someone_waits
        finally:
            await transaction.rollback()


async def terminate(url: DatabaseUrl, pid: int) -> None:
    async with plain_connection(url) as connection:
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)


def calls(service: KeyService, client: Client, key_id: str) -> dict[str, Callable[[], Any]]:
    """Every kind of transaction: one statement, several, and one that changes rows of two tables."""
    stub = service.stub
    added = key_request(client, label="another", request_id=str(uuid4()))
    rotated = pb.RotateApiKeyRequest(
        api_key_id=key_id, credentials=new_credentials(), request_id=str(uuid4())
    )
    created = pb.CreateClientRequest(name="another", request_id=str(uuid4()))
    return {
        "AddApiKey": lambda: stub.AddApiKey(added),
        "RotateApiKey": lambda: stub.RotateApiKey(rotated),
        "DeleteClient": lambda: stub.DeleteClient(pb.DeleteClientRequest(client_id=client.id)),
        "CreateClient": lambda: stub.CreateClient(created),
    }


METHODS = ("AddApiKey", "RotateApiKey", "DeleteClient", "CreateClient")


@pytest.mark.parametrize("method", METHODS)
async def test_a_connection_that_is_killed_in_the_midst_leaves_nothing_and_the_next_attempt_succeeds(
    service: KeyService, client: Client, database_url: DatabaseUrl, method: str
) -> None:
    key = await service.add_key(client)
    call = calls(service, client, key.id)[method]
    before = await state(service)
    async with audit_held_up(database_url) as someone_waits:
        task = asyncio.ensure_future(failure(call()))
        await terminate(database_url, await someone_waits())
        told = from_rpc_error(await task)
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert await state(service) == before
    await call()
    assert await state(service) != before


@pytest.mark.parametrize("method", METHODS)
async def test_a_caller_who_goes_away_in_the_midst_leaves_nothing(
    service: KeyService, client: Client, database_url: DatabaseUrl, method: str
) -> None:
    key = await service.add_key(client)
    call = calls(service, client, key.id)[method]
    before = await state(service)
    async with audit_held_up(database_url) as someone_waits:
        under_way = call()
        task = asyncio.ensure_future(failure(under_way))
        pid = await someone_waits()
        under_way.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(database_url, pid)
    assert await state(service) == before
    await call()


async def gone(url: DatabaseUrl, pid: int) -> None:
    """Wait until a process of the server is no longer in the midst of something."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state <> 'idle'"
    async with plain_connection(url) as connection, asyncio.timeout(PATIENCE):
        while await connection.fetchval(query, pid):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.01)


async def test_a_caller_whose_time_is_up_leaves_nothing(
    service: KeyService, client: Client, database_url: DatabaseUrl
) -> None:
    before = await state(service)
    request = key_request(client, request_id=str(uuid4()))
    async with audit_held_up(database_url) as someone_waits:
        task = asyncio.ensure_future(failure(service.stub.AddApiKey(request, timeout=0.5)))
        pid = await someone_waits()
        assert (await task).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await gone(database_url, pid)
    assert await state(service) == before
    await service.stub.AddApiKey(request)


async def test_cancelled_callers_cost_no_connections(
    service: KeyService, client: Client, database_url: DatabaseUrl
) -> None:
    async with audit_held_up(database_url) as someone_waits:
        under_way = [service.stub.AddApiKey(key_request(client, label=str(number))) for number in range(30)]
        tasks = [asyncio.ensure_future(failure(each)) for each in under_way]
        await someone_waits()
        for each in under_way:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Once a later call on their connection is answered, the service has heard of theirs, and that they are gone.
        await service.stub.ListClients(pb.ListClientsRequest())
        # Nobody could write yet, so whoever still waits for it would be left with a connection.
        await eventually(lambda: not service.database.pool.checkedout(), "every connection is given back")
    assert await service.count("exchange_api_keys") == 0
    await asyncio.gather(*(service.add_key(client, label=str(number)) for number in range(30)))


async def test_a_constraint_that_nobody_foresaw_is_an_internal_error_without_its_words(
    service: KeyService, client: Client, output: io.StringIO
) -> None:
    await service.sql("ALTER TABLE exchange_api_keys ADD CONSTRAINT odd CHECK (label <> 'odd')")
    before = await state(service)
    request = key_request(client, label="odd", request_id=str(uuid4()))
    told = await refusal(service.stub.AddApiKey(request))
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "odd" not in told.message
    assert told.metadata["request_id"] in told.message
    assert await state(service) == before
    logged = output.getvalue()
    assert told.metadata["request_id"] in logged
    assert request.credentials.api_key not in logged
    assert request.credentials.api_secret not in logged


async def test_a_part_of_a_deletion_that_fails_undoes_the_rest(service: KeyService, client: Client) -> None:
    key = await service.add_key(client, label="odd")
    await service.sql(
        "ALTER TABLE exchange_api_keys ADD CONSTRAINT odd CHECK (label <> 'odd' OR NOT is_deleted) NOT VALID"
    )
    before = await state(service)
    told = await refusal(service.stub.DeleteClient(pb.DeleteClientRequest(client_id=client.id)))
    assert told.code is grpc.StatusCode.INTERNAL
    assert await state(service) == before
    assert await service.get_key(key) == key


async def test_connections_that_were_killed_while_idle_are_not_noticed_by_anyone(
    service: KeyService, client: Client, database_url: DatabaseUrl
) -> None:
    await asyncio.gather(*(service.add_key(client, label=str(number)) for number in range(10)))
    async with plain_connection(database_url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    keys = await asyncio.gather(*(service.add_key(client, label=f"after {number}") for number in range(10)))
    assert [await service.get_key(key) for key in keys] == keys
