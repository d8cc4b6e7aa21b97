"""Credentials go to the bridge only once that is on record, with who had it done; and not without."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from keyservice.breaker import LONG_ENOUGH, LOOKS, NO_ACCOUNT, PAUSE, SILENCES, Breaker, Sign
from keyservice.bridge_records import Outcome
from keyservice.convergence_loop import ConvergenceLoop
from keyservice.custody import ApiKeyOrder
from keyservice.enums import BridgeReason, Environment
from keyservice.records import Caller
from keyservice.store.audit import RELEASE
from keyservice.v1 import bridge_status_pb2 as status
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.credentials import Credentials
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Aborted, NotFound
from servicekit.rpc.call import REQUEST_ID
from tests.support.audit import without_audit_table
from tests.support.bridges import RunningBridge, refuses, refuses_once
from tests.support.key_service import PRINCIPAL, KeyService, key_request, new_credentials, refusal, running
from tests.support.probe import eventually

METADATA = ((PRINCIPAL, "ada"), (REQUEST_ID, "a-request"))

Method = Callable[[KeyService, ApiKey], Awaitable[Any]]


@pytest.fixture
async def service(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(database_url, bridge_target=bridge.target) as service:
        yield service


def _update(service: KeyService, key: ApiKey, *, disabled: bool) -> Awaitable[Any]:
    wanted = ApiKey(id=key.id, disabled=disabled)
    request = pb.UpdateApiKeyRequest(api_key=wanted, update_mask=FieldMask(paths=["disabled"]))
    return service.stub.UpdateApiKey(request, metadata=METADATA)


def _add(service: KeyService, key: ApiKey) -> Awaitable[Any]:
    request = key_request(Client(id=key.client_id), label="another")
    return service.stub.AddApiKey(request, metadata=METADATA)


def _rotate(service: KeyService, key: ApiKey) -> Awaitable[Any]:
    request = pb.RotateApiKeyRequest(api_key_id=key.id, credentials=new_credentials())
    return service.stub.RotateApiKey(request, metadata=METADATA)


async def _enable(service: KeyService, key: ApiKey) -> Any:
    await _update(service, key, disabled=True)
    return await _update(service, key, disabled=False)


async def _undelete(service: KeyService, key: ApiKey) -> Any:
    await service.delete_key(key)
    return await service.stub.UndeleteApiKey(pb.UndeleteApiKeyRequest(api_key_id=key.id), metadata=METADATA)


def _reinitialize(service: KeyService, key: ApiKey) -> Awaitable[Any]:
    request = pb.ReinitializeApiKeyRequest(api_key_id=key.id)
    return service.stub.ReinitializeApiKey(request, metadata=METADATA)


METHODS: dict[str, Method] = {
    "AddApiKey": _add,
    "RotateApiKey": _rotate,
    "UpdateApiKey": _enable,
    "UndeleteApiKey": _undelete,
    "ReinitializeApiKey": _reinitialize,
}

# The same where the key is deleted or disabled already.
ONCE: dict[str, Method] = METHODS | {
    "UndeleteApiKey": lambda service, key: service.stub.UndeleteApiKey(
        pb.UndeleteApiKeyRequest(api_key_id=key.id)
    ),
    "UpdateApiKey": lambda service, key: _update(service, key, disabled=False),
}


async def key_for(service: KeyService, client: Client, method: str) -> ApiKey:
    """One for which the method has something to do."""
    key = await service.add_key(client)
    if method == "UndeleteApiKey":
        await service.delete_key(key)
    if method == "UpdateApiKey":
        await _update(service, key, disabled=True)
    return key


async def releases(service: KeyService) -> list[tuple[str, str, str, int]]:
    """Who, by which request, which key at which revision: in their order."""
    rows = await service.sql(
        "SELECT principal, request_id, api_key_id::text, details->>'revision' FROM audit_events"
        " WHERE action = :action AND outcome = 'OK' ORDER BY position",
        action=RELEASE,
    )
    return [(who, request, key, int(revision)) for who, request, key, revision in map(tuple, rows)]


def pushed(bridge: RunningBridge) -> list[int]:
    return [request.revision for request in bridge.faults.requests("AddConnector")]


@asynccontextmanager
async def each_push_is_on_record(service: KeyService, bridge: RunningBridge) -> AsyncIterator[None]:
    """While a push has not been answered yet, its event is there already."""
    unrecorded = []

    async def look(request: Any, _call: Any) -> None:
        recorded = [revision for *_, revision in await releases(service)]
        if request.revision not in recorded:
            unrecorded.append(request.revision)

    bridge.faults.before["AddConnector"] = look
    yield
    bridge.faults.clear()
    assert unrecorded == []


@pytest.mark.parametrize("method", METHODS)
async def test_what_a_caller_has_sent_is_on_record_before_it_is_sent_under_his_name(
    service: KeyService, client: Client, bridge: RunningBridge, method: str
) -> None:
    key = await service.add_key(client)
    before = len(await releases(service))
    bridge.faults.seen.clear()
    async with each_push_is_on_record(service, bridge):
        answer = await METHODS[method](service, key)
    assert answer.api_key.trading_bridge_configured
    [event] = (await releases(service))[before:]
    assert event == ("ada", "a-request", answer.api_key.id, answer.api_key.revision)
    assert pushed(bridge) == [answer.api_key.revision]


async def test_it_is_listed_with_the_other_events(service: KeyService, client: Client) -> None:
    key = await service.add_key(client)
    listed = (await service.stub.ListAuditEvents(pb.ListAuditEventsRequest(client_id=client.id))).events
    assert {(each.action, each.api_key_id) for each in listed} == {
        ("CreateClient", ""),
        ("AddApiKey", key.id),
        (RELEASE, key.id),
    }


async def test_what_is_taken_away_from_the_bridge_and_what_has_no_credentials_is_no_release(
    service: KeyService, client: Client
) -> None:
    paper = await service.add_key(client, exchange="paper")
    assert paper.trading_bridge_configured
    key = await service.add_key(client)
    count = len(await releases(service))
    assert count == 1
    await _update(service, key, disabled=True)
    await service.rotate_key(key)
    await service.delete_key(key)
    await service.undelete_key(key)
    await _reinitialize(service, paper)
    assert len(await releases(service)) == count


async def test_who_reads_balances_and_thereby_has_a_key_pushed_again_is_named(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    await bridge.running.remove(key.connector_name, key.revision, account_name=f"client_{client.id}")
    before = len(await releases(service))
    bridge.faults.seen.clear()
    request = pb.GetBalancesRequest(client_id=client.id)
    async with each_push_is_on_record(service, bridge):
        await service.stub.GetBalances(request, metadata=METADATA)
    events = (await releases(service))[before:]
    assert events == [("ada", "a-request", key.id, revision) for revision in pushed(bridge)]
    assert events


async def test_a_second_attempt_with_a_new_revision_is_a_second_release(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    bridge.faults.before["AddConnector"] = refuses_once(Aborted("no", reason="STALE_REVISION"))
    await _add(service, ApiKey(client_id=client.id))
    assert [(who, revision) for who, _, _, revision in await releases(service)] == [
        ("ada", revision) for revision in pushed(bridge)
    ]
    assert len(pushed(bridge)) == 2


async def due_at_once(service: KeyService) -> None:
    await service.sql(
        "UPDATE exchange_api_keys SET bridge_state = 'pending', next_attempt_at = now(), attempt_count = 0"
    )


async def test_what_the_loop_sends_is_on_record_before_under_the_name_of_convergence(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    keys = [await service.add_key(client, label=str(number)) for number in range(5)]
    before = len(await releases(service))
    bridge.faults.seen.clear()
    await due_at_once(service)
    loop = ConvergenceLoop(service.database, service.convergence, at_once=10)
    async with each_push_is_on_record(service, bridge):
        assert await loop.once() == len(keys)
        await service.convergence.__aexit__()
    events = (await releases(service))[before:]
    assert {event[:2] for event in events} == {("convergence", "")}
    assert sorted(event[2] for event in events) == sorted(key.id for key in keys)
    assert sorted(revision for *_, revision in events) == sorted(pushed(bridge))


async def test_while_the_bridge_is_known_to_be_away_the_loop_sends_nothing_and_records_nothing(
    service: KeyService, client: Client, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a call would get through by then: it would not be on record."""
    key = await service.add_key(client)
    before = await releases(service)
    bridge.faults.seen.clear()
    breaker = Breaker(pause=timedelta(0))
    for _ in range(LOOKS):
        away = Outcome(BridgeReason.BRIDGE_UNAVAILABLE, asked=False)
        breaker.failed(NO_ACCOUNT, Sign.AWAY, away, timedelta(seconds=1))
    monkeypatch.setattr(service.bridge, "_breaker", breaker)
    assert breaker.refusal(NO_ACCOUNT) is None
    await due_at_once(service)
    loop = ConvergenceLoop(service.database, service.convergence, at_once=10)
    assert await loop.once() == 1
    await service.convergence.__aexit__()
    now = (await service.get_key(key)).bridge_status
    assert (now.reason, now.attempt_count) == (status.BRIDGE_REASON_BRIDGE_UNAVAILABLE, 0)
    assert pushed(bridge) == []
    assert await releases(service) == before


def trip(breaker: Breaker, client: Client) -> None:
    """The bridge of this client's account is away."""
    away = Outcome(BridgeReason.BRIDGE_UNAVAILABLE)
    breaker.failed(client.account_name, Sign.AWAY, away, timedelta(seconds=1))


@pytest.mark.parametrize("method", METHODS)
async def test_what_is_not_sent_because_the_bridge_of_an_account_is_away_is_no_release(
    service: KeyService, client: Client, bridge: RunningBridge, breaker: Breaker, method: str
) -> None:
    key = await key_for(service, client, method)
    before = await releases(service)
    bridge.faults.seen.clear()
    trip(breaker, client)
    answer = await ONCE[method](service, key)
    now = answer.api_key.bridge_status
    assert (now.state, now.reason) == (
        status.BRIDGE_STATE_PENDING,
        status.BRIDGE_REASON_BRIDGE_UNAVAILABLE,
    )
    assert await releases(service) == before
    assert pushed(bridge) == []


async def test_of_what_the_loop_claims_it_records_what_it_sends(
    service: KeyService, client: Client, bridge: RunningBridge, breaker: Breaker
) -> None:
    other = await service.add_client()
    away, there = [
        [await service.add_key(each, label=str(number)) for number in range(3)] for each in (client, other)
    ]
    before = len(await releases(service))
    bridge.faults.seen.clear()
    trip(breaker, client)
    await due_at_once(service)
    loop = ConvergenceLoop(service.database, service.convergence, at_once=10)
    assert await loop.once() == len(away) + len(there)
    await service.convergence.__aexit__()
    events = (await releases(service))[before:]
    assert {event[:2] for event in events} == {("convergence", "")}
    assert sorted(event[2] for event in events) == sorted(key.id for key in there)
    assert sorted(revision for *_, revision in events) == sorted(pushed(bridge))
    for key in away:
        assert (await service.get_key(key)).bridge_status.reason == status.BRIDGE_REASON_BRIDGE_UNAVAILABLE


async def test_the_one_key_that_finds_out_whether_an_account_is_served_again_is_a_release(
    service: KeyService, client: Client, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    breaker = Breaker(clock=lambda: now)
    monkeypatch.setattr(service.bridge, "_breaker", breaker)
    keys = [await service.add_key(client, label=str(number)) for number in range(3)]
    before = len(await releases(service))
    bridge.faults.seen.clear()
    trip(breaker, client)
    now += PAUSE.total_seconds()
    await due_at_once(service)
    loop = ConvergenceLoop(service.database, service.convergence, at_once=10)
    assert await loop.once() == len(keys)
    await service.convergence.__aexit__()
    [event] = (await releases(service))[before:]
    assert pushed(bridge) == [event[3]]
    assert not breaker.is_away(client.account_name)


async def ask_again(service: KeyService, request: pb.AddApiKeyRequest) -> None:
    assert (await service.stub.AddApiKey(request)).api_key.label == request.label


async def ask_for_nobody(service: KeyService, _request: pb.AddApiKeyRequest) -> None:
    told = await refusal(service.stub.AddApiKey(key_request(Client(id=str(uuid4())))))
    assert told.reason == "CLIENT_NOT_FOUND"


async def ask_as_a_stranger(service: KeyService, request: pb.AddApiKeyRequest) -> None:
    secrets = Credentials(api_key=uuid4().hex, api_secret=uuid4().hex)
    order = ApiKeyOrder(UUID(request.client_id), "kraken", "", Environment.LIVE, secrets)
    with pytest.raises(NotFound):
        await service.custody.add(Caller("a stranger", clients=frozenset()), order, None)


@pytest.mark.parametrize("ask", [ask_again, ask_for_nobody, ask_as_a_stranger])
async def test_who_has_nothing_sent_does_not_take_the_turn_to_find_out_whether_somebody_is_back(
    service: KeyService,
    client: Client,
    bridge: RunningBridge,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[KeyService, pb.AddApiKeyRequest], Awaitable[None]],
) -> None:
    now = 1000.0
    breaker = Breaker(clock=lambda: now)
    monkeypatch.setattr(service.bridge, "_breaker", breaker)
    request = key_request(client, request_id=str(uuid4()))
    await service.stub.AddApiKey(request)
    silence = Outcome(BridgeReason.BRIDGE_TIMEOUT, asked=False)
    for _ in range(SILENCES):
        breaker.failed(client.account_name, Sign.SILENT, silence, LONG_ENOUGH)
    now += PAUSE.total_seconds()
    await ask(service, request)
    before = len(await releases(service))
    bridge.faults.seen.clear()
    assert (await service.stub.AddApiKey(key_request(client, label="another"))).trading_bridge_configured
    [event] = (await releases(service))[before:]
    assert pushed(bridge) == [event[3]]


@pytest.mark.parametrize("method", METHODS)
async def test_what_cannot_be_recorded_is_not_sent(
    service: KeyService, client: Client, bridge: RunningBridge, method: str
) -> None:
    key = await key_for(service, client, method)
    bridge.faults.seen.clear()
    async with without_audit_table(service.database):
        assert (await refusal(ONCE[method](service, key))).code is grpc.StatusCode.INTERNAL
    assert pushed(bridge) == []


async def test_what_the_loop_cannot_record_it_does_not_send(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    key = await service.add_key(client)
    bridge.faults.seen.clear()
    await due_at_once(service)
    loop = ConvergenceLoop(service.database, service.convergence, at_once=10)
    async with without_audit_table(service.database):
        with pytest.raises(Exception, match="refused a statement"):
            await loop.once()
    assert pushed(bridge) == []
    row = await service.row(key)
    assert row.attempt_count == 0
    assert await loop.once() == 1
    await eventually(lambda: len(pushed(bridge)) == 1, "it is sent once it can be recorded")
    assert UUID(key.id) == row.id


async def test_a_refused_attempt_was_a_release_too(
    service: KeyService, client: Client, bridge: RunningBridge
) -> None:
    bridge.faults.before["AddConnector"] = refuses(Aborted("no", reason="BUSY"))
    key = await service.add_key(client)
    assert not key.trading_bridge_configured
    assert [event[2] for event in await releases(service)] == [key.id]
