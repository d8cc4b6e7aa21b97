"""Tenancy: a caller sees its own clients' rows, and another tenant's look exactly like ones that do not exist."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from keyservice.custody import ApiKeyChanges, ApiKeyOrder, Rotation
from keyservice.enums import Environment
from keyservice.records import ApiKey, Caller, Client
from keyservice.repetition import Repetition
from keyservice.store.api_key_lists import Filter
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition, KeybridgeError, NotFound, PermissionDenied
from tests.support.key_service import KeyService

EVERYONE = Caller("the operator")

UseCase = Callable[[KeyService, Caller, UUID], Awaitable[Any]]

OF_CLIENTS: dict[str, UseCase] = {
    "get": lambda service, caller, row: service.clients.get(caller, row),
    "update": lambda service, caller, row: service.clients.update(caller, row, {"name": "stolen"}),
    "balances": lambda service, caller, row: service.balances.read(
        caller, row, exchange=None, max_age=timedelta(0), left=10
    ),
    "delete": lambda service, caller, row: service.clients.delete(caller, row),
    "undelete": lambda service, caller, row: service.clients.undelete(caller, row),
    "add a key": lambda service, caller, row: service.custody.add(caller, order(row), None),
    "add a key, by request id": lambda service, caller, row: service.custody.add(
        caller, order(row), Repetition("AddApiKey", uuid4(), b"")
    ),
}
OF_KEYS: dict[str, UseCase] = {
    "get": lambda service, caller, row: service.custody.get(caller, row),
    "rotate": lambda service, caller, row: service.custody.rotate(caller, Rotation(row, credentials()), None),
    "update": lambda service, caller, row: service.custody.update(caller, row, ApiKeyChanges(disabled=True)),
    "delete": lambda service, caller, row: service.custody.delete(caller, row),
    "undelete": lambda service, caller, row: service.custody.undelete(caller, row),
}


def credentials() -> Credentials:
    return Credentials(api_key=uuid4().hex, api_secret=uuid4().hex)


def order(client_id: UUID, label: str = "main") -> ApiKeyOrder:
    return ApiKeyOrder(client_id, "kraken", label, Environment.LIVE, credentials())


class Tenants:
    """Two clients with a key each, and a caller for each of the two."""

    def __init__(self, clients: list[Client], keys: list[ApiKey]) -> None:
        self.mine, self.theirs = clients
        self.my_key, self.their_key = keys
        self.me = Caller("me", clients=frozenset({self.mine.id}))


@pytest.fixture
async def tenants(service: KeyService) -> Tenants:
    clients = [await service.clients.create(EVERYONE, name, "", None) for name in ("mine", "theirs")]
    keys = [(await service.custody.add(EVERYONE, order(client.id), None)).key for client in clients]
    return Tenants(clients, keys)


async def error_of(call: Awaitable[Any]) -> KeybridgeError:
    with pytest.raises(KeybridgeError) as caught:
        await call
    return caught.value


def facts(error: KeybridgeError) -> tuple[object, ...]:
    """All that a caller gets to see of an error."""
    return type(error), error.message, error.reason, error.metadata, error.retry_after


async def state(service: KeyService) -> list[Any]:
    return [
        await service.sql(f"SELECT t.xmin, t::text FROM {table} t ORDER BY t.ctid")  # noqa: S608 - ours
        for table in ("clients", "exchange_api_keys", "requests", "audit_events")
    ]


@pytest.mark.parametrize("deleted", [False, True], ids=["live", "deleted"])
@pytest.mark.parametrize("use_case", OF_CLIENTS)
async def test_another_tenants_client_looks_like_one_that_does_not_exist(
    service: KeyService, tenants: Tenants, use_case: str, deleted: bool
) -> None:
    if deleted:
        await service.clients.delete(EVERYONE, tenants.theirs.id)
    before = await state(service)
    call = OF_CLIENTS[use_case]
    theirs = await error_of(call(service, tenants.me, tenants.theirs.id))
    nobodys = await error_of(call(service, tenants.me, uuid4()))
    assert facts(theirs) == facts(nobodys)
    assert isinstance(theirs, NotFound)
    assert await state(service) == before


@pytest.mark.parametrize("deleted", [False, True], ids=["live", "deleted"])
@pytest.mark.parametrize("use_case", OF_KEYS)
async def test_another_tenants_key_looks_like_one_that_does_not_exist(
    service: KeyService, tenants: Tenants, use_case: str, deleted: bool
) -> None:
    if deleted:
        await service.custody.delete(EVERYONE, tenants.their_key.id)
    before = await state(service)
    call = OF_KEYS[use_case]
    theirs = await error_of(call(service, tenants.me, tenants.their_key.id))
    nobodys = await error_of(call(service, tenants.me, uuid4()))
    assert facts(theirs) == facts(nobodys)
    assert isinstance(theirs, NotFound)
    assert await state(service) == before


@pytest.mark.parametrize("use_case", OF_CLIENTS)
async def test_ones_own_client_is_served(service: KeyService, tenants: Tenants, use_case: str) -> None:
    await service.custody.delete(EVERYONE, tenants.my_key.id)
    await OF_CLIENTS[use_case](service, tenants.me, tenants.mine.id)


@pytest.mark.parametrize("use_case", OF_KEYS)
async def test_ones_own_key_is_served(service: KeyService, tenants: Tenants, use_case: str) -> None:
    await OF_KEYS[use_case](service, tenants.me, tenants.my_key.id)


async def test_a_limited_caller_learns_of_no_external_id_and_makes_no_client(
    service: KeyService, tenants: Tenants
) -> None:
    """No two clients have the same external_id: whoever sets one hears whether there is one already."""
    await service.clients.update(EVERYONE, tenants.theirs.id, {"external_id": "theirs"})
    before = await state(service)
    for client_id in (tenants.mine.id, tenants.theirs.id, uuid4()):
        for external_id in ("theirs", "free"):
            changes = {"external_id": external_id}
            error = await error_of(service.clients.update(tenants.me, client_id, changes))
            assert (type(error), error.reason) == (PermissionDenied, "LIMITED_TO_CLIENTS")
    for external_id in ("theirs", "free"):
        error = await error_of(service.clients.create(tenants.me, "another", external_id, None))
        assert (type(error), error.reason) == (PermissionDenied, "LIMITED_TO_CLIENTS")
    assert await state(service) == before


async def test_lists_hold_ones_own_rows_only(service: KeyService, tenants: Tenants) -> None:
    listed = await service.clients.list(tenants.me, show_deleted=True, after=None, size=10)
    assert [client.id for client in listed.rows] == [tenants.mine.id]
    for wanted in (Filter(show_deleted=True), Filter(client_id=tenants.mine.id)):
        keys = await service.custody.list(tenants.me, wanted, after=None, size=10)
        assert [key.id for key in keys.rows] == [tenants.my_key.id]
    events = await service.custody.audit_events(tenants.me, client_id=None, after=None, size=10)
    actions = [event.action for event in events.rows]
    assert sorted(actions) == ["AddApiKey", "CreateClient", "ReleaseCredentials"]
    assert {event.client_id for event in events.rows} == {tenants.mine.id}


async def test_a_filter_for_another_tenants_rows_finds_nothing_as_for_nobodys(
    service: KeyService, tenants: Tenants
) -> None:
    for other in (tenants.theirs.id, uuid4()):
        keys = await service.custody.list(tenants.me, Filter(client_id=other), after=None, size=10)
        events = await service.custody.audit_events(tenants.me, client_id=other, after=None, size=10)
        assert (keys.rows, keys.next, events.rows, events.next) == ([], None, [], None)


async def test_a_caller_with_no_clients_sees_nothing(service: KeyService, tenants: Tenants) -> None:
    nobody = Caller("nobody", clients=frozenset())
    assert not (await service.clients.list(nobody, show_deleted=True, after=None, size=10)).rows
    assert not (await service.custody.list(nobody, Filter(), after=None, size=10)).rows
    assert not (await service.custody.audit_events(nobody, client_id=None, after=None, size=10)).rows


async def test_a_page_of_another_tenants_place_shows_ones_own_rows_only(
    service: KeyService, tenants: Tenants
) -> None:
    """A page token says where to go on, and nothing of what may be seen there."""
    first = await service.custody.list(EVERYONE, Filter(), after=None, size=1)
    assert first.next is not None
    rest = await service.custody.list(tenants.me, Filter(), after=first.next, size=10)
    assert tenants.their_key.id not in {key.id for key in rest.rows}


async def test_a_repetition_does_not_show_what_the_caller_may_no_longer_see(
    service: KeyService, tenants: Tenants
) -> None:
    repetition = Repetition("AddApiKey", uuid4(), b"the same")
    wanted = order(tenants.theirs.id, "another")
    insider = Caller("me", clients=frozenset({tenants.mine.id, tenants.theirs.id}))
    await service.custody.add(insider, wanted, repetition)
    error = await error_of(service.custody.add(tenants.me, wanted, repetition))
    assert isinstance(error, NotFound)


async def test_undelete_of_a_key_whose_client_is_deleted_says_so_to_its_owner_only(
    service: KeyService, tenants: Tenants
) -> None:
    await service.clients.delete(EVERYONE, tenants.mine.id)
    error = await error_of(service.custody.undelete(tenants.me, tenants.my_key.id))
    assert isinstance(error, FailedPrecondition)


async def test_only_ones_own_keys_are_counted(service: KeyService, tenants: Tenants) -> None:
    assert (await service.health.look(tenants.me)).pending_keys == 1
    assert (await service.health.look(EVERYONE)).pending_keys == 2
