"""What only one may have, and what happens at the same time: the database decides, and one wins."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import pytest

from keyservice.records import Caller
from keyservice.store import api_keys
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.engine import Connection
from servicekit.rpc.status import from_rpc_error
from tests.support.key_service import (
    KeyService,
    key_request,
    new_credentials,
    refusal,
)

ROUNDS = 25
PATIENCE = 10


async def outcomes(calls: Iterable[Awaitable[Any]]) -> Counter[str]:
    """How calls that are made at once end: OK, or the reason of the refusal."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    reasons = Counter[str]()
    for answer in answers:
        if isinstance(answer, grpc.aio.AioRpcError):
            reasons[from_rpc_error(answer).reason or "not ours"] += 1
        else:
            assert not isinstance(answer, BaseException), answer
            reasons["OK"] += 1
    return reasons


@asynccontextmanager
async def slow_writes(service: KeyService) -> AsyncIterator[None]:
    """Rows of keys get their values, and are written only when the block ends."""
    await service.sql(
        "CREATE FUNCTION wait_for_the_block() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN new; END'"
    )
    await service.sql(
        "CREATE TRIGGER waits BEFORE INSERT OR UPDATE ON exchange_api_keys"
        " FOR EACH ROW EXECUTE FUNCTION wait_for_the_block()"
    )
    async with service.database.transaction() as holder:
        await holder.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        yield


async def waiting(service: KeyService, many: int) -> None:
    """Until so many wait for a lock."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE):
        while True:
            [found] = await service.sql(statement)
            if found[0] >= many:
                return
            await asyncio.sleep(0.01)


async def live_keys(service: KeyService, client: Client) -> list[ApiKey]:
    return list((await service.stub.ListApiKeys(pb.ListApiKeysRequest(client_id=client.id))).api_keys)


def undelete(service: KeyService, key: ApiKey) -> Awaitable[Any]:
    return service.stub.UndeleteApiKey(pb.UndeleteApiKeyRequest(api_key_id=key.id))


def rename(service: KeyService, key: ApiKey, label: str) -> Awaitable[Any]:
    return service.stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=ApiKey(id=key.id, label=label)))


async def test_a_label_is_used_once_for_each_client_and_exchange(service: KeyService, client: Client) -> None:
    await service.add_key(client, label="main")
    told = await refusal(service.stub.AddApiKey(key_request(client, label="main")))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "LABEL_TAKEN")
    await service.add_key(client, label="Main")
    await service.add_key(client, label="main", exchange="binance")
    await service.add_key(await service.add_client(), label="main")


async def test_an_api_key_is_added_once_for_each_client_and_exchange(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    await service.add_key(client, label="a", credentials=given)
    given.api_secret = new_credentials().api_secret
    told = await refusal(service.stub.AddApiKey(key_request(client, label="b", credentials=given)))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "API_KEY_ALREADY_ADDED")
    assert given.api_key not in told.message
    await service.add_key(client, exchange="binance", credentials=given)
    await service.add_key(await service.add_client(), credentials=given)


async def test_the_same_key_under_a_former_name_of_the_exchange_is_the_same(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    await service.add_key(client, label="a", exchange="gate", credentials=given)
    request = key_request(client, label="b", exchange="gateio", credentials=given)
    assert (await refusal(service.stub.AddApiKey(request))).reason == "API_KEY_ALREADY_ADDED"


async def test_keys_without_an_api_key_are_told_apart_by_all_of_their_credentials(
    service: KeyService, client: Client
) -> None:
    given = new_credentials(api_key="", api_secret="", extra={"privateKey": new_credentials().api_key})
    await service.add_key(client, label="a", exchange="lighter", credentials=given)
    request = key_request(client, label="b", exchange="lighter", credentials=given)
    assert (await refusal(service.stub.AddApiKey(request))).reason == "API_KEY_ALREADY_ADDED"
    request.credentials.extra["privateKey"] += "0"
    await service.stub.AddApiKey(request)


async def test_of_many_additions_at_once_exactly_one_gets_the_label(
    service: KeyService, client: Client
) -> None:
    calls = (service.stub.AddApiKey(key_request(client, label="main")) for _ in range(20))
    assert await outcomes(calls) == {"OK": 1, "LABEL_TAKEN": 19}
    assert len(await live_keys(service, client)) == 1


async def test_of_many_additions_at_once_exactly_one_adds_the_api_key(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    calls = (
        service.stub.AddApiKey(key_request(client, label=str(number), credentials=given))
        for number in range(20)
    )
    assert await outcomes(calls) == {"OK": 1, "API_KEY_ALREADY_ADDED": 19}
    assert len(await live_keys(service, client)) == 1


async def test_of_many_renamings_at_once_exactly_one_gets_the_label(
    service: KeyService, client: Client
) -> None:
    keys = [await service.add_key(client, label=str(number)) for number in range(10)]
    assert await outcomes(rename(service, key, "main") for key in keys) == {"OK": 1, "LABEL_TAKEN": 9}


async def test_a_rotation_to_an_api_key_that_is_there_is_refused_and_changes_nothing(
    service: KeyService, client: Client
) -> None:
    given = new_credentials()
    await service.add_key(client, label="a", credentials=given)
    key = await service.add_key(client, label="b")
    before = await service.row(key)
    request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=given)
    assert (await refusal(service.stub.RotateApiKey(request))).reason == "API_KEY_ALREADY_ADDED"
    assert await service.row(key) == before


async def test_rotations_at_once_each_count_and_the_last_one_stands(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    given = [new_credentials() for _ in range(20)]
    rotated = await asyncio.gather(*(service.rotate_key(key, each) for each in given))
    assert len({each.revision for each in rotated}) == 20
    assert (await service.row(key)).secret_version == 21
    last = max(range(20), key=lambda number: rotated[number].revision)
    assert (await service.opened(key))["api_key"] == given[last].api_key.encode()


async def test_a_rotation_that_another_one_overtook_is_refused_even_without_its_lock(
    service: KeyService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await service.add_key(client)
    given = new_credentials()
    read_before = await api_keys.get(service.database.reads, UUID(key.id), Caller("a test"))
    await service.rotate_key(key, given)

    async def not_locked(_connection: Connection, _key_id: UUID, _caller: Caller) -> Any:
        return read_before

    monkeypatch.setattr(api_keys, "lock", not_locked)
    request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=new_credentials())
    assert (await refusal(service.stub.RotateApiKey(request))).code is grpc.StatusCode.ABORTED
    assert (await service.opened(key))["api_key"] == given.api_key.encode()


async def test_a_renamed_key_keeps_its_connector_and_nobody_else_gets_it(
    service: KeyService, client: Client
) -> None:
    first = await service.add_key(client)
    await rename(service, first, "old")
    told = await refusal(service.stub.AddApiKey(key_request(client)))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CONNECTOR_NAME_TAKEN")
    await service.delete_key(first)
    second = await service.add_key(client)
    assert second.connector_name == first.connector_name


async def test_a_deletion_waits_for_an_addition_that_drew_its_revision_before(
    service: KeyService, client: Client
) -> None:
    first = await service.add_key(client)
    async with slow_writes(service):
        adding = asyncio.ensure_future(service.add_key(client))
        await waiting(service, 1)
        deleting = asyncio.ensure_future(service.delete_key(first))
        await waiting(service, 2)
    assert await outcomes([adding, deleting]) == {"LABEL_TAKEN": 1, "OK": 1}


async def test_an_addition_that_waits_for_a_deletion_draws_its_revision_after_it(
    service: KeyService, client: Client
) -> None:
    first = await service.add_key(client)
    async with slow_writes(service):
        deleting = asyncio.ensure_future(service.delete_key(first))
        await waiting(service, 1)
        adding = asyncio.ensure_future(service.add_key(client))
        await waiting(service, 2)
        [drawn] = await service.sql("SELECT last_value FROM key_revisions")
    deleted, added = await deleting, await adding
    assert drawn.last_value == deleted.revision < added.revision
    assert added.connector_name == deleted.connector_name


async def test_crossed_renamings_end_in_words_and_never_in_a_deadlock(service: KeyService) -> None:
    clients = [await service.add_client(external_id=name) for name in "ab"]
    keys = [await service.add_key(clients[0], label=label) for label in "ab"]
    for number in range(3):
        one, other = "ab" if number % 2 else "ba"
        calls = [rename(service, key, label) for key, label in zip(keys, (one, other), strict=True)]
        for client, name in zip(clients, (one, other), strict=True):
            wanted = Client(id=client.id, external_id=name)
            calls.append(service.stub.UpdateClient(pb.UpdateClientRequest(client=wanted)))
        assert (await outcomes(calls)).keys() <= {"OK", "LABEL_TAKEN", "EXTERNAL_ID_TAKEN"}


async def test_deleting_frees_label_and_api_key(service: KeyService, client: Client) -> None:
    given = new_credentials()
    first = await service.add_key(client, label="main", credentials=given)
    await service.delete_key(first)
    second = await service.add_key(client, label="main", credentials=given)
    assert second.id != first.id
    assert second.connector_name == first.connector_name
    assert second.revision > first.revision


@pytest.mark.parametrize("taken", ["label", "connector", "api key"])
async def test_undelete_says_when_label_or_api_key_was_taken_meanwhile(
    service: KeyService, client: Client, taken: str
) -> None:
    given = new_credentials()
    first = await service.add_key(client, label="main", credentials=given)
    await service.delete_key(first)
    if taken == "label":
        second = await service.add_key(client, label="main")
        reason = "LABEL_TAKEN"
    elif taken == "connector":
        second = await service.add_key(client, label="main")
        await rename(service, second, "other")
        reason = "CONNECTOR_NAME_TAKEN"
    else:
        second = await service.add_key(client, label="other", credentials=given)
        reason = "API_KEY_ALREADY_ADDED"
    before = await service.row(first)
    told = await refusal(undelete(service, first))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, reason)
    assert await service.row(first) == before
    await service.delete_key(second)
    await service.undelete_key(first)


async def test_of_two_keys_that_had_one_label_exactly_one_comes_back(
    service: KeyService, client: Client
) -> None:
    keys = []
    for _ in range(5):
        keys.append(await service.add_key(client, label="main"))
        await service.delete_key(keys[-1])
    assert await outcomes(undelete(service, key) for key in keys) == {"OK": 1, "LABEL_TAKEN": 4}


async def test_a_client_that_is_deleted_while_keys_are_added_keeps_no_live_key(service: KeyService) -> None:
    chance = random.Random(3)  # noqa: S311 - shuffles, guards nothing
    for number in range(ROUNDS):
        client = await service.add_client(f"round {number}")
        additions = [
            service.stub.AddApiKey(key_request(client, label=str(each), request_id="")) for each in range(4)
        ]
        calls: list[Awaitable[Any]] = [*additions, service.delete_client(client)]
        chance.shuffle(calls)
        ended = await outcomes(calls)
        assert ended.keys() <= {"OK", "CLIENT_NOT_FOUND"}
        assert await live_keys(service, client) == []
        [stored] = await service.sql(
            "SELECT count(*) FROM exchange_api_keys WHERE client_id = :id", id=client.id
        )
        assert stored[0] == ended["OK"] - 1


async def test_changes_of_all_kinds_at_once_leave_no_live_key_on_a_deleted_client(
    service: KeyService,
) -> None:
    chance = random.Random(5)  # noqa: S311 - shuffles, guards nothing
    allowed = {
        "OK",
        "CLIENT_NOT_FOUND",
        "CLIENT_DELETED",
        "API_KEY_DELETED",
        "LABEL_TAKEN",
        "CONNECTOR_NAME_TAKEN",
    }
    for number in range(ROUNDS // 2):
        client = await service.add_client(f"round {number}")
        keys = [await service.add_key(client, label=label) for label in "abc"]
        calls: list[Awaitable[Any]] = [service.delete_client(client), service.undelete_client(client)]
        calls += [service.stub.AddApiKey(key_request(client, label="new")) for _ in range(2)]
        for key in keys:
            calls += [service.delete_key(key), undelete(service, key), service.rotate_key(key)]
            calls += [rename(service, key, chance.choice("abcd"))]
        chance.shuffle(calls)
        assert (await outcomes(calls)).keys() <= allowed
        await service.delete_client(client)
        assert await live_keys(service, client) == []
