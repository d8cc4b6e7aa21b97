"""Time's work: the credentials of deleted keys are erased when they are due, and old request ids are forgotten."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import grpc
import pytest

from keyservice import housekeeping
from keyservice.housekeeping import KEEP_REQUESTS, Housekeeping
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Internal
from tests.support.key_service import KeyService, key_request, new_credentials, refusal, running
from tests.support.logged import lines
from tests.support.probe import eventually

MONTH = timedelta(days=30)


@pytest.fixture
async def erasing(database_url: DatabaseUrl, output: io.StringIO) -> AsyncIterator[KeyService]:
    """KeyService with KEYSERVICE_ERASE_AFTER=0."""
    async with running(database_url, erase_at_once=True) as service:
        yield service


async def deleted_since(service: KeyService, key: ApiKey, age: timedelta) -> None:
    """Delete a key, as if that had been so long ago."""
    await service.delete_key(key)
    await service.sql(
        "UPDATE exchange_api_keys SET deleted_at = now() - CAST(:age AS interval) WHERE id = :id",
        age=age,
        id=UUID(key.id),
    )


async def require_erased(service: KeyService, key: ApiKey) -> None:
    row = await service.row(key)
    assert (row.api_key, row.api_secret, row.passphrase, row.extra, row.key_id) == (None,) * 5
    assert row.erased_at is not None
    told = await refusal(service.stub.UndeleteApiKey(pb.UndeleteApiKeyRequest(api_key_id=key.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_ERASED")


async def test_what_is_due_is_erased_and_undelete_says_so(service: KeyService, client: Client) -> None:
    due, recent, live = [await service.add_key(client, label=label) for label in "abc"]
    await deleted_since(service, due, MONTH + timedelta(minutes=1))
    await deleted_since(service, recent, MONTH - timedelta(minutes=1))
    sealed = await service.opened(recent)
    assert await Housekeeping(service.database, erase_after=MONTH).once() == 1
    await require_erased(service, due)
    assert await service.opened(recent) == sealed
    assert await service.opened(live)
    await service.undelete_key(recent)


async def test_it_is_done_once(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await deleted_since(service, key, MONTH * 2)
    keeping = Housekeeping(service.database, erase_after=MONTH)
    assert await keeping.once() == 1
    row = await service.row(key)
    assert await keeping.once() == 0
    assert await service.row(key) == row


async def test_erasing_is_no_change_of_what_should_be_true(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await deleted_since(service, key, MONTH * 2)
    revision = (await service.row(key)).revision
    await Housekeeping(service.database, erase_after=MONTH).once()
    assert (await service.row(key)).revision == revision


async def test_many_are_erased_in_batches_and_by_two_at_once(
    service: KeyService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_BATCH", 3)
    await asyncio.gather(*(service.add_key(client, label=str(number)) for number in range(20)))
    await service.sql("UPDATE exchange_api_keys SET is_deleted = true, deleted_at = now() - interval '1 day'")
    one, other = (Housekeeping(service.database, erase_after=timedelta(0)) for _ in range(2))
    erased = await asyncio.gather(one.once(), other.once())
    assert sum(erased) == 20


async def test_a_key_that_someone_holds_is_left_for_the_next_turn(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    await deleted_since(service, key, MONTH * 2)
    keeping = Housekeeping(service.database, erase_after=MONTH)
    async with service.database.transaction() as holder:
        await holder.exec_driver_sql("SELECT FROM exchange_api_keys FOR UPDATE")
        assert await keeping.once() == 0
    assert await keeping.once() == 1


async def test_what_came_back_in_time_is_not_erased(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await deleted_since(service, key, MONTH * 2)
    await service.undelete_key(key)
    assert await Housekeeping(service.database, erase_after=MONTH).once() == 0
    assert await service.opened(key)


async def test_keys_erased_since_stay_deleted_when_their_client_comes_back(
    service: KeyService, client: Client
) -> None:
    erased, kept = [await service.add_key(client, label=label) for label in "ab"]
    await service.delete_client(client)
    await service.sql(
        "UPDATE exchange_api_keys SET api_key = NULL, api_secret = NULL, key_id = NULL, erased_at = now()"
        " WHERE id = :id",
        id=UUID(erased.id),
    )
    await service.undelete_client(client)
    assert (await service.get_key(erased)).HasField("delete_time")
    assert not (await service.get_key(kept)).HasField("delete_time")


async def test_request_ids_are_forgotten_after_a_week(service: KeyService, client: Client) -> None:
    old, young = [key_request(client, label=label, request_id=str(uuid4())) for label in "ab"]
    for request in (old, young):
        await service.stub.AddApiKey(request)
    await service.sql(
        "UPDATE requests SET created_at = now() - CAST(:age AS interval) WHERE request_id = :id",
        age=KEEP_REQUESTS + timedelta(minutes=1),
        id=UUID(old.request_id),
    )
    await Housekeeping(service.database, erase_after=MONTH).once()
    [row] = await service.sql("SELECT request_id FROM requests")
    assert str(row.request_id) == young.request_id
    assert (await refusal(service.stub.AddApiKey(old))).reason == "LABEL_TAKEN"


async def test_with_no_time_to_keep_them_credentials_are_erased_by_the_deletion_itself(
    erasing: KeyService,
) -> None:
    client = await erasing.add_client()
    one, other = [await erasing.add_key(client, label=label) for label in "ab"]
    paper = await erasing.add_key(client, exchange="paper")
    await erasing.delete_key(one)
    await require_erased(erasing, one)
    await erasing.delete_client(client)
    for key in (other, paper):
        await require_erased(erasing, key)
    await erasing.undelete_client(client)
    assert not (await erasing.stub.ListApiKeys(pb.ListApiKeysRequest(client_id=client.id))).api_keys


async def test_an_erased_key_frees_its_label_and_its_api_key(erasing: KeyService) -> None:
    client = await erasing.add_client()
    given = new_credentials()
    await erasing.delete_key(await erasing.add_key(client, label="main", credentials=given))
    await erasing.add_key(client, label="main", credentials=given)


async def test_the_loop_goes_on_after_the_database_was_away(
    service: KeyService, client: Client, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_PAUSE", timedelta(milliseconds=10))
    key = await service.add_key(client)
    await deleted_since(service, key, MONTH * 2)
    await service.sql("ALTER TABLE exchange_api_keys RENAME TO elsewhere")
    loop = asyncio.ensure_future(Housekeeping(service.database, erase_after=MONTH).run())
    try:
        await eventually(lambda: "housekeeping failed" in output.getvalue(), "the failure is logged")
        await service.sql("ALTER TABLE elsewhere RENAME TO exchange_api_keys")
        await eventually(lambda: "erased the credentials" in output.getvalue(), "the key is erased")
    finally:
        loop.cancel()
    assert [line["keys"] for line in lines(output) if line.get("keys")] == [1]
    await require_erased(service, key)


async def test_erasing_is_in_the_audit_record_one_event_for_each_key(
    service: KeyService, client: Client
) -> None:
    keys = [await service.add_key(client, label=label) for label in "ab"]
    for key in keys:
        await deleted_since(service, key, MONTH * 2)
    await Housekeeping(service.database, erase_after=MONTH).once()
    events = await service.stub.ListAuditEvents(pb.ListAuditEventsRequest(page_size=2))
    assert {(each.action, each.principal, each.client_id, each.outcome) for each in events.events} == {
        ("EraseApiKey", "housekeeping", client.id, "OK")
    }
    assert {each.api_key_id for each in events.events} == {key.id for key in keys}


async def test_what_cannot_be_recorded_is_not_erased(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    await deleted_since(service, key, MONTH * 2)
    await service.sql("ALTER TABLE audit_events RENAME TO elsewhere")
    with pytest.raises(Internal):
        await Housekeeping(service.database, erase_after=MONTH).once()
    assert (await service.row(key)).erased_at is None
