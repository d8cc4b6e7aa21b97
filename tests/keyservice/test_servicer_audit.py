"""The record of who did what: one event for each change, in the transaction of the change, and none without one."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from keyservice.store.audit import RELEASE
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.audit_event_pb2 import AuditEvent
from keyservice.v1.client_pb2 import Client
from servicekit.rpc.call import REQUEST_ID
from tests.support.audit import without_audit_table
from tests.support.key_service import (
    PRINCIPAL,
    KeyService,
    key_request,
    new_credentials,
    refusal,
)

METHODS = (
    "CreateClient",
    "UpdateClient",
    "DeleteClient",
    "UndeleteClient",
    "AddApiKey",
    "RotateApiKey",
    "UpdateApiKey",
    "DeleteApiKey",
    "UndeleteApiKey",
)
TABLES = ("clients", "exchange_api_keys", "requests")

Mutation = Callable[..., Awaitable[Any]]


async def prepared(service: KeyService, method: str) -> tuple[Mutation, ApiKey, Client]:
    """A call that will change something, and what it is about: a key and a client, which AddApiKey makes anew."""
    client = await service.add_client("before")
    key = await service.add_key(client)
    stub, key_id, client_id = service.stub, key.id, client.id
    if method == "UndeleteApiKey":
        await service.delete_key(key)
    if method == "UndeleteClient":
        await service.delete_client(client)
    request_id = str(uuid4())
    requests: dict[str, Any] = {
        "CreateClient": pb.CreateClientRequest(name="another", request_id=request_id),
        "UpdateClient": pb.UpdateClientRequest(client=Client(id=client_id, name="after")),
        "DeleteClient": pb.DeleteClientRequest(client_id=client_id),
        "UndeleteClient": pb.UndeleteClientRequest(client_id=client_id),
        "AddApiKey": key_request(client, label="another", request_id=request_id),
        "RotateApiKey": pb.RotateApiKeyRequest(
            api_key_id=key_id, credentials=new_credentials(), request_id=request_id
        ),
        "UpdateApiKey": pb.UpdateApiKeyRequest(api_key=ApiKey(id=key_id, label="after", disabled=True)),
        "DeleteApiKey": pb.DeleteApiKeyRequest(api_key_id=key_id),
        "UndeleteApiKey": pb.UndeleteApiKeyRequest(api_key_id=key_id),
    }

    def call(**metadata: str) -> Awaitable[Any]:
        sent = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        answer: Awaitable[Any] = getattr(stub, method)(requests[method], metadata=sent)
        return answer

    return call, key, client


async def events(service: KeyService, **filters: Any) -> list[AuditEvent]:
    """But for the releases of credentials, which have tests of their own."""
    listed = (await service.stub.ListAuditEvents(pb.ListAuditEventsRequest(**filters))).events
    return [event for event in listed if event.action != RELEASE]


async def contents(service: KeyService) -> list[Any]:
    """Everything that a use case may change, the very versions of the rows."""
    return [
        await service.sql(f"SELECT t.ctid, t.xmin, t::text FROM {table} t ORDER BY t.ctid")  # noqa: S608 - ours
        for table in TABLES
    ]


@pytest.mark.parametrize("method", METHODS)
async def test_every_change_leaves_an_event_that_says_who_what_and_by_which_request(
    service: KeyService, method: str
) -> None:
    call, key, client = await prepared(service, method)
    before = await events(service)
    request_id = f"trace-{uuid4()}"
    answer = await call(**{PRINCIPAL: "ada", REQUEST_ID: request_id})
    added = (await events(service))[: -len(before)]
    assert {(each.principal, each.action, each.request_id, each.outcome) for each in added} == {
        ("ada", method, request_id, "OK")
    }
    about = {(each.client_id, each.api_key_id) for each in added}
    if method == "CreateClient":
        assert about == {(answer.client.id, "")}
    elif method == "UpdateClient":
        assert about == {(client.id, "")}
    elif method.endswith("Client"):
        assert about == {(client.id, ""), (client.id, key.id)}
    else:
        assert about == {(client.id, answer.api_key.id)}
    assert len(added) == len(about)


@pytest.mark.parametrize("method", METHODS)
async def test_a_change_whose_event_cannot_be_written_does_not_happen(
    service: KeyService, method: str
) -> None:
    call, _, _ = await prepared(service, method)
    before = await contents(service)
    async with without_audit_table(service.database):
        assert (await refusal(call())).code is grpc.StatusCode.INTERNAL
    assert await contents(service) == before
    await call()


async def test_a_caller_whom_nobody_asked_who_he_is_is_anonymous(service: KeyService) -> None:
    await service.add_client()
    [event] = await events(service)
    assert event.principal == "anonymous"
    assert str(UUID(event.request_id)) == event.request_id
    assert event.HasField("create_time")


async def test_what_changes_nothing_leaves_no_event(service: KeyService, client: Client) -> None:
    key = await service.add_key(client, label="same")
    request = key_request(client, label="same")
    count = await service.count("audit_events")
    assert (await refusal(service.stub.AddApiKey(request))).reason == "LABEL_TAKEN"
    await service.stub.UpdateApiKey(pb.UpdateApiKeyRequest(api_key=ApiKey(id=key.id, label="same")))
    await service.undelete_key(key)
    await service.undelete_client(client)
    await service.get_key(key)
    assert await service.count("audit_events") == count
    await service.delete_client(client)
    count = await service.count("audit_events")
    await service.delete_client(client)
    await service.delete_key(key)
    assert await service.count("audit_events") == count


async def test_a_repetition_leaves_no_second_event(service: KeyService, client: Client) -> None:
    made = pb.CreateClientRequest(name="twice", request_id=str(uuid4()))
    added = key_request(client, request_id=str(uuid4()))
    key = (await service.stub.AddApiKey(added)).api_key
    rotated = pb.RotateApiKeyRequest(
        api_key_id=key.id, credentials=new_credentials(), request_id=str(uuid4())
    )
    for _ in range(3):
        await service.stub.CreateClient(made)
        await service.stub.AddApiKey(added)
        await service.stub.RotateApiKey(rotated)
    actions = [event.action for event in await events(service)]
    assert actions == ["RotateApiKey", "CreateClient", "AddApiKey", "CreateClient"]


async def test_events_are_listed_the_newest_first_page_by_page(service: KeyService) -> None:
    made = [(await service.add_client(f"number {number}")).id for number in range(5)]
    listed: list[str] = []
    token = ""
    while True:
        request = pb.ListAuditEventsRequest(page_size=2, page_token=token)
        page = await service.stub.ListAuditEvents(request)
        listed += [event.client_id for event in page.events]
        if not (token := page.next_page_token):
            break
    assert listed == made[::-1]


async def test_the_events_of_one_client_can_be_asked_for(service: KeyService, client: Client) -> None:
    other = await service.add_client()
    key = await service.add_key(client)
    await service.add_key(other)
    about = [(each.action, each.api_key_id) for each in await events(service, client_id=client.id)]
    assert about == [("AddApiKey", key.id), ("CreateClient", "")]
    assert await events(service, client_id=str(uuid4())) == []


async def test_a_malformed_client_id_and_a_page_size_below_zero_are_told_at_once(service: KeyService) -> None:
    request = pb.ListAuditEventsRequest(client_id="7", page_size=-1, page_token="7")  # noqa: S106 - a place
    told = await refusal(service.stub.ListAuditEvents(request))
    assert [violation.field for violation in told.violations] == ["client_id", "page_size", "page_token"]
