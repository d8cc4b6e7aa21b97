"""One caller's many changes are not the wait of everybody else."""

import asyncio
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.rpc.status import from_rpc_error
from tests.support.key_service import PRINCIPAL, KeyService
from tests.support.probe import eventually, failure

GREEDY, MODEST = (((PRINCIPAL, name),) for name in ("greedy", "modest"))


@pytest.fixture
async def client(service: KeyService) -> Client:
    return await service.add_client()


async def test_changes_that_wait_for_each_other_leave_connections_to_others(
    service: KeyService, client: Client
) -> None:
    """However many they are: the pool has twenty."""
    key, other = await service.add_key(client), await service.add_client("another")
    async with service.database.transaction() as connection:
        await connection.execute(text("SELECT 1 FROM clients WHERE id = :id FOR UPDATE"), {"id": client.id})
        labels = [ApiKey(id=key.id, label=str(number)) for number in range(60)]
        waiting = [
            asyncio.ensure_future(
                service.stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=each), metadata=GREEDY, timeout=60)
            )
            for each in labels
        ]
        await eventually(lambda: service.database.pool.checkedout() > 5, "the share was taken")
        answer = await service.stub.AddApiKey(
            pb.AddApiKeyRequest(client_id=other.id, exchange="paper"), metadata=MODEST, timeout=20
        )
        assert answer.api_key.client_id == other.id
        assert service.database.pool.checkedout() <= 7
        assert not any(each.done() for each in waiting)
    await asyncio.gather(*waiting)


async def test_one_caller_has_few_reinitializations_under_way_and_others_have_theirs(
    service: KeyService, client: Client
) -> None:
    """There is no bridge, and no loop, so that none of them ends."""
    await service.add_key(client)

    def begin(metadata: Any) -> Any:
        return service.stub.ReinitializeApiKeys(pb.ReinitializeApiKeysRequest(), metadata=metadata)

    streams = [begin(GREEDY) for _ in range(2)]
    for stream in streams:
        assert (await stream.read()).total == 1
    told = from_rpc_error(await failure(begin(GREEDY).read()))
    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REINITIALIZATIONS")
    assert told.retry_after
    other = begin(MODEST)
    assert (await other.read()).total == 1
    for stream in (*streams, other):
        stream.cancel()
