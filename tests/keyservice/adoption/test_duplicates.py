"""Of rows with the same API key the newest stays, also of those that would come back with a deleted client."""

from datetime import datetime, timedelta

import pytest

from keyservice.adoption import adopt
from keyservice.v1 import key_service_pb2 as pb
from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl
from tests.support.key_service import KeyService, running
from tests.support.old_database import NULLABLE, OldDatabase, dump

LONG_AGO = datetime(2023, 5, 1, 12)  # noqa: DTZ001 - without zone, as theirs


@pytest.fixture
async def old(empty_database_url: DatabaseUrl) -> OldDatabase:
    return await OldDatabase(empty_database_url, NULLABLE).create()


async def one_key_under_two_labels(old: OldDatabase) -> None:
    first = await old.add_key("alice", "kraken", "older", created_at=LONG_AGO)
    later = LONG_AGO + timedelta(days=1)
    await old.add_key("alice", "kraken", "newer", created_at=later, values=first.values)


async def labels(service: KeyService) -> list[str]:
    keys = (await service.stub.ListApiKeys(pb.ListApiKeysRequest())).api_keys
    return sorted(key.label for key in keys)


async def test_a_client_deleted_in_the_old_system_comes_back_without_the_older_one(old: OldDatabase) -> None:
    await old.add_client("alice", is_deleted=True)
    await one_key_under_two_labels(old)
    await old.add_key("alice", "okx", "deleted by itself", is_deleted=True)
    await migrate.upgrade(old.url)
    async with running(old.url) as service:
        report = await adopt(service.database, service.keyring, old.key)
        assert report.counts["SupersedeApiKey"] == 1
        [client] = (await service.stub.ListClients(pb.ListClientsRequest(show_deleted=True))).clients
        assert await labels(service) == []
        await service.undelete_client(client)
        assert await labels(service) == ["newer"]


async def test_a_client_deleted_before_the_adoption_comes_back_without_the_older_one(
    old: OldDatabase,
) -> None:
    await old.add_client("alice")
    await one_key_under_two_labels(old)
    await migrate.upgrade(old.url)
    async with running(old.url) as service:
        [client] = (await service.stub.ListClients(pb.ListClientsRequest())).clients
        await service.delete_client(client)
        await adopt(service.database, service.keyring, old.key, batch=1)
        before = dump(old.url)
        await adopt(service.database, service.keyring, old.key, batch=1)
        assert dump(old.url) == before
        await service.undelete_client(client)
        assert await labels(service) == ["newer"]
