"""The RPCs of clients, over a real socket."""

import asyncio
import secrets
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import KeyService, refusal, violations

CALLS = {
    "GetClient": pb.GetClientRequest,
    "DeleteClient": pb.DeleteClientRequest,
    "UndeleteClient": pb.UndeleteClientRequest,
}


async def rename(service: KeyService, client: Client, *paths: str) -> Client:
    request = pb.UpdateClientRequest(client=client, update_mask=FieldMask(paths=paths))
    return (await service.stub.UpdateClient(request)).client


async def test_a_client_is_made_as_it_was_asked_for(service: KeyService) -> None:
    client = await service.add_client("Ada & söns", external_id="crm-1")
    assert (client.name, client.external_id) == ("Ada & söns", "crm-1")
    assert UUID(client.id).version == 4
    assert client.account_name == f"client_{client.id}"
    assert client.HasField("create_time")
    assert client.update_time.ToNanoseconds() >= client.create_time.ToNanoseconds()
    assert not client.HasField("delete_time")


async def test_it_is_read_back_as_it_was_answered(service: KeyService, client: Client) -> None:
    found = await service.stub.GetClient(pb.GetClientRequest(client_id=client.id))
    assert found.client == client


async def test_an_id_is_understood_in_capitals_too(service: KeyService, client: Client) -> None:
    found = await service.stub.GetClient(pb.GetClientRequest(client_id=client.id.upper()))
    assert found.client == client


async def test_any_number_of_clients_may_have_no_external_id(service: KeyService) -> None:
    first, second = await service.add_client(), await service.add_client()
    assert first.id != second.id


async def test_an_external_id_belongs_to_one_client_however_many_ask_at_once(service: KeyService) -> None:
    request = pb.CreateClientRequest(name="a client", external_id="crm-1")
    answers = await asyncio.gather(
        *(service.stub.CreateClient(request) for _ in range(20)), return_exceptions=True
    )
    made = [answer for answer in answers if isinstance(answer, pb.CreateClientResponse)]
    assert len(made) == 1
    told = await refusal(service.stub.CreateClient(request))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EXTERNAL_ID_TAKEN")
    assert await service.count("clients") == 1


async def test_deleting_frees_the_external_id_and_undelete_says_that_it_is_taken(service: KeyService) -> None:
    first = await service.add_client(external_id="crm-1")
    await service.delete_client(first)
    second = await service.add_client(external_id="crm-1")
    told = await refusal(service.stub.UndeleteClient(pb.UndeleteClientRequest(client_id=first.id)))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EXTERNAL_ID_TAKEN")
    await service.delete_client(second)
    assert (await service.undelete_client(first)).external_id == "crm-1"


async def test_an_update_changes_what_the_mask_names_and_ignores_the_rest(service: KeyService) -> None:
    client = await service.add_client("before", external_id="crm-1")
    wanted = Client(id=client.id, name="after", external_id="ignored", account_name="ignored")
    changed = await rename(service, wanted, "name")
    assert (changed.name, changed.external_id) == ("after", "crm-1")
    assert changed.account_name == client.account_name
    assert changed.create_time == client.create_time
    assert changed.update_time.ToNanoseconds() > client.update_time.ToNanoseconds()


async def test_what_the_mask_does_not_name_need_not_be_valid(service: KeyService, client: Client) -> None:
    wanted = Client(id=client.id, name="", external_id="crm-2")
    assert (await rename(service, wanted, "external_id")).external_id == "crm-2"


async def test_an_update_without_a_mask_changes_the_fields_that_are_set(service: KeyService) -> None:
    client = await service.add_client("before", external_id="crm-1")
    changed = await rename(service, Client(id=client.id, name="after"))
    assert (changed.name, changed.external_id) == ("after", "crm-1")
    changed = await rename(service, Client(id=client.id, external_id="crm-2"))
    assert (changed.name, changed.external_id) == ("after", "crm-2")
    assert (await rename(service, Client(id=client.id), "external_id")).external_id == ""


async def test_an_update_to_a_taken_external_id_is_refused_and_changes_nothing(service: KeyService) -> None:
    await service.add_client(external_id="crm-1")
    client = await service.add_client("before")
    wanted = Client(id=client.id, name="after", external_id="crm-1")
    told = await refusal(service.stub.UpdateClient(pb.UpdateClientRequest(client=wanted)))
    assert told.reason == "EXTERNAL_ID_TAKEN"
    found = await service.stub.GetClient(pb.GetClientRequest(client_id=client.id))
    assert found.client == client


async def test_a_deleted_client_is_still_read_and_renamed(service: KeyService, client: Client) -> None:
    deleted = await service.delete_client(client)
    assert deleted.HasField("delete_time")
    found = await service.stub.GetClient(pb.GetClientRequest(client_id=client.id))
    assert found.client == deleted
    renamed = await rename(service, Client(id=client.id, name="late"), "name")
    assert (renamed.name, renamed.delete_time) == ("late", deleted.delete_time)


async def test_deleting_and_undeleting_twice_changes_nothing_the_second_time(
    service: KeyService, client: Client
) -> None:
    deleted = await service.delete_client(client)
    assert await service.delete_client(client) == deleted
    restored = await service.undelete_client(client)
    assert not restored.HasField("delete_time")
    assert await service.undelete_client(client) == restored


async def test_a_client_that_never_was_is_not_found_whatever_is_asked(service: KeyService) -> None:
    for name, request in CALLS.items():
        told = await refusal(getattr(service.stub, name)(request(client_id=str(uuid4()))))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CLIENT_NOT_FOUND")
    unknown = pb.UpdateClientRequest(client=Client(id=str(uuid4()), name="nobody"))
    assert (await refusal(service.stub.UpdateClient(unknown))).reason == "CLIENT_NOT_FOUND"


@pytest.mark.parametrize("malformed", ["", "7", "urn:uuid:{}", "{{{}}}"])
async def test_a_malformed_id_is_a_violation_of_its_field(service: KeyService, malformed: str) -> None:
    given = malformed.format(uuid4())
    for name, request in CALLS.items():
        told = await refusal(getattr(service.stub, name)(request(client_id=given)))
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(told)) == ["client_id"]


async def test_every_violation_is_told_at_once(service: KeyService) -> None:
    made = pb.CreateClientRequest(name=" ", external_id="x" * 201, request_id="7")
    assert list(violations(await refusal(service.stub.CreateClient(made)))) == [
        "name",
        "external_id",
        "request_id",
    ]
    changed = pb.UpdateClientRequest(
        client=Client(id="7", name="a\nb", external_id=" x"), update_mask=FieldMask(paths=["name", "id"])
    )
    assert list(violations(await refusal(service.stub.UpdateClient(changed)))) == [
        "client.id",
        "update_mask",
        "client.name",
    ]
    assert await service.count("clients") == 0


async def test_an_update_that_names_no_field_and_sets_none_is_refused(
    service: KeyService, client: Client
) -> None:
    told = await refusal(service.stub.UpdateClient(pb.UpdateClientRequest(client=Client(id=client.id))))
    assert list(violations(told)) == ["update_mask"]


async def test_a_name_cannot_be_taken_away(service: KeyService, client: Client) -> None:
    request = pb.UpdateClientRequest(client=Client(id=client.id), update_mask=FieldMask(paths=["name"]))
    assert violations(await refusal(service.stub.UpdateClient(request))) == {"client.name": "is required"}


async def test_an_update_to_what_is_so_already_changes_nothing_at_all(
    service: KeyService, client: Client
) -> None:
    before = await service.sql("SELECT t.xmin, t::text FROM clients t")
    events = await service.count("audit_events")
    assert await rename(service, client) == client
    assert await rename(service, client, "name", "external_id") == client
    assert await service.sql("SELECT t.xmin, t::text FROM clients t") == before
    assert await service.count("audit_events") == events


async def test_names_of_the_greatest_length_are_taken(service: KeyService) -> None:
    longest = secrets.token_hex(100)
    client = await service.add_client(longest, external_id=longest)
    assert (client.name, client.external_id) == (longest, longest)
