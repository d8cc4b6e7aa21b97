"""Lists: filters, pages, and tokens that are good for the list that they were made in only."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest

from keyservice.v1 import bridge_status_pb2 as bridge
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import KeyService, refusal, violations
from tests.support.sealed import execute

MANY = """
INSERT INTO clients (name, created_at)
SELECT 'client ' || n, timestamptz '2026-01-01 00:00Z' + interval '1 microsecond' * (n / :equal)
FROM generate_series(1, :count) AS n
"""


async def add_many(service: KeyService, count: int, equal: int = 1) -> None:
    """Clients by the number, of which so many in a row have the same time."""
    await execute(service.database, MANY, count=count, equal=equal)


async def client_pages(service: KeyService, **request: Any) -> AsyncIterator[list[str]]:
    """The ids of clients, page by page."""
    token = ""
    while True:
        page = await service.stub.ListClients(pb.ListClientsRequest(page_token=token, **request))
        yield [client.id for client in page.clients]
        if not (token := page.next_page_token):
            return


async def test_paging_visits_each_row_exactly_once_with_equal_times(service: KeyService) -> None:
    await add_many(service, 97, equal=20)
    for size in (1, 7, 20, 96, 97, 98):
        pages = [page async for page in client_pages(service, page_size=size)]
        visited = [each for page in pages for each in page]
        assert len(visited) == len(set(visited)) == 97
        assert all(len(page) == size for page in pages[:-1])
        assert pages[-1]


async def test_the_oldest_come_first(service: KeyService) -> None:
    made = [(await service.add_client(f"number {number}")).id for number in range(4)]
    assert [page async for page in client_pages(service, page_size=3)] == [made[:3], made[3:]]


async def test_paging_visits_what_was_there_exactly_once_while_rows_are_inserted(
    service: KeyService,
) -> None:
    await add_many(service, 60, equal=7)
    there = {each async for page in client_pages(service, page_size=1000) for each in page}
    visited: list[str] = []
    async for page in client_pages(service, page_size=5):
        visited += page
        await asyncio.gather(*(service.add_client("late") for _ in range(3)))
        if len(visited) > 200:
            break
    assert len(visited) == len(set(visited))
    assert there <= set(visited)


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
async def test_a_page_has_fifty_rows_unless_asked_otherwise_and_a_thousand_at_the_most(
    service: KeyService, asked: int, given: int
) -> None:
    await add_many(service, 1001)
    page = await service.stub.ListClients(pb.ListClientsRequest(page_size=asked))
    assert len(page.clients) == given
    assert page.next_page_token


async def test_a_page_size_may_change_on_the_way_and_may_not_be_negative(service: KeyService) -> None:
    await add_many(service, 10)
    first = await service.stub.ListClients(pb.ListClientsRequest(page_size=3))
    rest = await service.stub.ListClients(
        pb.ListClientsRequest(page_size=50, page_token=first.next_page_token)
    )
    assert len(rest.clients) == 7
    assert not rest.next_page_token
    told = await refusal(service.stub.ListClients(pb.ListClientsRequest(page_size=-1)))
    assert list(violations(told)) == ["page_size"]


async def test_deleted_clients_are_listed_when_asked_for(service: KeyService) -> None:
    live, gone = await service.add_client(), await service.add_client()
    await service.delete_client(gone)
    assert [page async for page in client_pages(service)] == [[live.id]]
    assert [page async for page in client_pages(service, show_deleted=True)] == [[live.id, gone.id]]


async def test_keys_are_filtered_by_client_exchange_and_state_together(
    service: KeyService, client: Client
) -> None:
    other = await service.add_client()
    keys = {
        (owner.id, exchange): await service.add_key(owner, exchange=exchange)
        for owner in (client, other)
        for exchange in ("kraken", "binance")
    }
    disabled = pb.UpdateApiKeyRequest(api_key=keys[client.id, "kraken"])
    disabled.api_key.disabled = True
    await service.stub.UpdateApiKey(disabled)

    async def listed(**filters: Any) -> set[str]:
        answer = await service.stub.ListApiKeys(pb.ListApiKeysRequest(**filters))
        return {key.id for key in answer.api_keys}

    def among(*names: tuple[str, str]) -> set[str]:
        return {keys[name].id for name in names}

    assert await listed() == {key.id for key in keys.values()}
    assert await listed(client_id=client.id) == among((client.id, "kraken"), (client.id, "binance"))
    assert await listed(exchange="KRAKEN") == among((client.id, "kraken"), (other.id, "kraken"))
    assert await listed(state=bridge.BRIDGE_STATE_REMOVING) == among((client.id, "kraken"))
    assert await listed(client_id=client.id, exchange="binance", state=bridge.BRIDGE_STATE_PENDING) == among(
        (client.id, "binance")
    )
    assert await listed(client_id=str(uuid4())) == set()
    assert await listed(exchange="bitmart") == set()
    assert await listed(state=bridge.BRIDGE_STATE_FAILED) == set()


async def test_a_token_of_another_list_or_of_other_filters_is_refused(
    service: KeyService, client: Client
) -> None:
    for label in "abc":
        await service.add_key(client, label=label)
    await service.add_client()

    async def token(call: Callable[..., Awaitable[Any]], request: Any) -> str:
        request.page_size = 1
        given: str = (await call(request)).next_page_token
        assert given
        return given

    stub = service.stub
    keys = pb.ListApiKeysRequest
    lists: list[tuple[Callable[..., Awaitable[Any]], Any]] = [
        (stub.ListClients, pb.ListClientsRequest()),
        (stub.ListClients, pb.ListClientsRequest(show_deleted=True)),
        (stub.ListApiKeys, keys()),
        (stub.ListApiKeys, keys(show_deleted=True)),
        (stub.ListApiKeys, keys(client_id=client.id)),
        (stub.ListApiKeys, keys(exchange="kraken")),
        (stub.ListApiKeys, keys(state=bridge.BRIDGE_STATE_PENDING)),
        (stub.ListAuditEvents, pb.ListAuditEventsRequest()),
        (stub.ListAuditEvents, pb.ListAuditEventsRequest(client_id=client.id)),
    ]
    tokens = [await token(call, request) for call, request in lists]
    for number, (call, request) in enumerate(lists):
        for other, text in enumerate(tokens):
            request.page_token = text
            if other == number:
                await call(request)
            else:
                told = await refusal(call(request))
                assert told.code is grpc.StatusCode.INVALID_ARGUMENT
                assert list(violations(told)) == ["page_token"]


async def test_a_token_with_any_byte_changed_is_refused(service: KeyService) -> None:
    await add_many(service, 2)
    right = (await service.stub.ListClients(pb.ListClientsRequest(page_size=1))).next_page_token
    wrong = [
        right[:place] + ("A" if character != "A" else "B") + right[place + 1 :]
        for place, character in enumerate(right)
    ]
    for text in (*wrong, right + "A", right[:-1], right + "=", "7", "\0"):
        told = await refusal(service.stub.ListClients(pb.ListClientsRequest(page_token=text)))
        assert list(violations(told)) == ["page_token"]
        assert text not in told.violations[0].description
