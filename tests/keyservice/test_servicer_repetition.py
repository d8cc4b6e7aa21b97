"""Request ids: a repetition gets the first result, whoever is faster, and another request under the id is refused."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import grpc
import pytest

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import (
    PRINCIPAL,
    KeyService,
    key_request,
    new_credentials,
    refusal,
)

AT_ONCE = 50


def as_principal(name: str) -> tuple[tuple[str, str]]:
    return ((PRINCIPAL, name),)


async def test_fifty_additions_at_once_with_one_request_id_make_one_key_and_one_answer(
    service: KeyService, client: Client
) -> None:
    request = key_request(client, label="main", request_id=str(uuid4()))
    answers = await asyncio.gather(*(service.stub.AddApiKey(request) for _ in range(AT_ONCE)))
    assert len({answer.api_key.id for answer in answers}) == 1
    assert len(answers) == AT_ONCE
    assert await service.count("exchange_api_keys") == 1
    assert await service.count("requests") == 1
    [events] = await service.sql("SELECT count(*) FROM audit_events WHERE action = 'AddApiKey'")
    assert events[0] == 1


async def test_fifty_clients_at_once_with_one_request_id_are_one(service: KeyService) -> None:
    request = pb.CreateClientRequest(name="once", external_id="crm-1", request_id=str(uuid4()))
    answers = await asyncio.gather(*(service.stub.CreateClient(request) for _ in range(AT_ONCE)))
    assert len({answer.client.id for answer in answers}) == 1
    assert await service.count("clients") == 1


async def test_fifty_rotations_at_once_with_one_request_id_rotate_once(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    request = pb.RotateApiKeyRequest(
        api_key_id=key.id, credentials=new_credentials(), request_id=str(uuid4())
    )
    answers = await asyncio.gather(*(service.stub.RotateApiKey(request) for _ in range(AT_ONCE)))
    assert len({answer.api_key.revision for answer in answers}) == 1
    assert (await service.row(key)).secret_version == 2


async def test_of_two_bodies_at_once_under_one_id_one_is_refused(service: KeyService, client: Client) -> None:
    request_id = str(uuid4())
    requests = [key_request(client, label=label, request_id=request_id) for label in "ab"]
    answers = await asyncio.gather(
        *(service.stub.AddApiKey(requests[number % 2]) for number in range(20)), return_exceptions=True
    )
    made = Counter(type(answer) for answer in answers)
    assert made == {pb.AddApiKeyResponse: 10, grpc.aio.AioRpcError: 10}
    assert await service.count("exchange_api_keys") == 1


async def test_the_same_id_with_another_body_is_refused(service: KeyService, client: Client) -> None:
    request_id = str(uuid4())
    key = await service.add_key(client, request_id=request_id)
    rotation = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=new_credentials(), request_id=request_id)
    await service.stub.RotateApiKey(rotation)
    await service.add_client("first", request_id=request_id)
    rotation.credentials.api_secret += "0"
    for refused in (
        service.stub.AddApiKey(key_request(client, label="another", request_id=request_id)),
        service.stub.RotateApiKey(rotation),
        service.stub.CreateClient(pb.CreateClientRequest(name="second", request_id=request_id)),
    ):
        told = await refusal(refused)
        assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert await service.count("exchange_api_keys") == 1
    assert (await service.row(key)).secret_version == 2


async def test_one_id_is_good_for_each_method_and_for_each_principal(
    service: KeyService, client: Client
) -> None:
    request_id = str(uuid4())
    made: list[Any] = []
    for name in ("ada", "bob"):
        metadata = as_principal(name)
        created = pb.CreateClientRequest(name=f"of {name}", request_id=request_id)
        made.append((await service.stub.CreateClient(created, metadata=metadata)).client.id)
        added = key_request(client, label=name, request_id=request_id)
        made.append((await service.stub.AddApiKey(added, metadata=metadata)).api_key.id)
    assert len(set(made)) == 4
    assert await service.count("requests") == 4


async def test_a_repetition_finds_the_key_whatever_became_of_it(service: KeyService, client: Client) -> None:
    request = key_request(client, request_id=str(uuid4()))
    key = (await service.stub.AddApiKey(request)).api_key
    rotated = await service.rotate_key(key)
    assert (await service.stub.AddApiKey(request)).api_key == rotated
    deleted = await service.delete_key(key)
    assert (await service.stub.AddApiKey(request)).api_key == deleted
    await service.delete_client(client)
    assert (await service.stub.AddApiKey(request)).api_key == deleted


async def test_a_repeated_rotation_of_a_key_that_was_deleted_since_finds_it(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    request = pb.RotateApiKeyRequest(
        api_key_id=key.id, credentials=new_credentials(), request_id=str(uuid4())
    )
    await service.stub.RotateApiKey(request)
    deleted = await service.delete_key(key)
    assert (await service.stub.RotateApiKey(request)).api_key == deleted


async def test_a_repeated_rotation_does_not_bring_back_older_credentials(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    request = pb.RotateApiKeyRequest(
        api_key_id=key.id, credentials=new_credentials(), request_id=str(uuid4())
    )
    await service.stub.RotateApiKey(request)
    latest = new_credentials()
    await service.rotate_key(key, latest)
    await service.stub.RotateApiKey(request)
    assert (await service.opened(key))["api_key"] == latest.api_key.encode()


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_request_that_failed_leaves_its_id_free(
    service: KeyService, client: Client, attempts: int
) -> None:
    await service.add_key(client, label="taken")
    request_id = str(uuid4())
    request = key_request(client, label="taken", request_id=request_id)
    for _ in range(attempts):
        assert (await refusal(service.stub.AddApiKey(request))).reason == "LABEL_TAKEN"
    assert await service.count("requests") == 0
    await service.add_key(client, label="free", request_id=request_id)


async def test_without_a_request_id_every_call_is_a_new_one(service: KeyService) -> None:
    first, second = await service.add_client("the same"), await service.add_client("the same")
    assert first.id != second.id
    assert await service.count("requests") == 0


async def test_nothing_of_a_body_is_kept_but_what_only_the_service_can_compare(
    service: KeyService, client: Client
) -> None:
    request = key_request(client, request_id=str(uuid4()))
    await service.stub.AddApiKey(request)
    [row] = await service.sql("SELECT * FROM requests")
    assert len(row.body_hmac) == 32
    assert request.credentials.api_secret not in str(row)


async def test_a_request_id_in_capitals_is_the_same_id(service: KeyService, client: Client) -> None:
    request = key_request(client, request_id=str(uuid4()))
    key = (await service.stub.AddApiKey(request)).api_key
    request.request_id = request.request_id.upper()
    assert (await service.stub.AddApiKey(request)).api_key == key
