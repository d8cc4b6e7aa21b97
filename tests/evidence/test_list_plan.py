"""ListApiKeys at 200,000 rows: an index leads to every page, and the last one costs what the first does.

The statements are those that the store really sends, caught on their way and explained with their own parameters.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from sqlalchemy import text

from keyservice.enums import BridgeState
from keyservice.records import Caller
from keyservice.sealing import MasterKey
from keyservice.store import api_key_lists
from keyservice.store.api_key_lists import Filter
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.database.engine import Connection, Database
from servicekit.paging import Position
from tests.evidence.filled import filled_server, one_connection
from tests.evidence.plans import Plan, explained
from tests.support.postgres import ThrowAwayPostgres
from tests.support.service_process import StartService

ROWS, CLIENTS = 200_000, 200
PAGE = 50
# Pages of an index hold more or fewer entries, and a page's rows lie on more or fewer pages of the table.
SLACK = 5
CLIENT = UUID(int=7)

# One row in ten is deleted; two exchanges and two states have nearly all rows, two have one row in a thousand.
FILL = f"""
INSERT INTO clients (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, 'client ' || n
  FROM generate_series(1, {CLIENTS}) n;
INSERT INTO exchange_api_keys (client_id, exchange, label, connector_name, bridge_state, created_at, is_deleted,
                               deleted_at)
SELECT lpad(to_hex(1 + n % {CLIENTS}), 32, '0')::uuid,
       CASE WHEN n % 1000 = 17 THEN 'okx' WHEN n % 1000 = 19 THEN 'htx'
            WHEN n > 150000 AND n % 3 = 0 THEN 'bybit' WHEN n % 2 = 0 THEN 'binance' ELSE 'kraken' END,
       'label ' || n, 'connector ' || n,
       CASE WHEN n % 1000 = 23 THEN 'failed' WHEN n % 3 = 0 THEN 'pending' ELSE 'configured' END,
       timestamptz '2026-01-01' + make_interval(secs => n / 3),
       n % 10 = 4, CASE WHEN n % 10 = 4 THEN now() END
  FROM generate_series(1, {ROWS}) n;
ANALYZE clients, exchange_api_keys;
"""  # noqa: S608 - figures of ours

FILTERS = {
    "all": Filter(),
    "a client": Filter(client_id=CLIENT),
    "a common exchange": Filter(exchange="binance"),
    "a rare exchange": Filter(exchange="okx"),
    "an exchange that came late": Filter(exchange="bybit"),
    "a common state": Filter(state=BridgeState.CONFIGURED),
    "a rare state": Filter(state=BridgeState.FAILED),
    "all with deleted": Filter(show_deleted=True),
    "a client with deleted": Filter(client_id=CLIENT, show_deleted=True),
    "a common exchange with deleted": Filter(exchange="binance", show_deleted=True),
    "a rare exchange with deleted": Filter(exchange="okx", show_deleted=True),
    "a common state with deleted": Filter(state=BridgeState.CONFIGURED, show_deleted=True),
    "a rare state with deleted": Filter(state=BridgeState.FAILED, show_deleted=True),
}

TWO_FILTERS = {
    "a client's exchange": Filter(client_id=CLIENT, exchange="binance"),
    "a client's state": Filter(client_id=CLIENT, state=BridgeState.CONFIGURED),
    "a client's exchange and state": Filter(CLIENT, "binance", BridgeState.CONFIGURED),
}


@pytest.fixture(scope="module")
def full_server() -> Iterator[ThrowAwayPostgres]:
    with filled_server("custody", FILL, "exchange_api_keys") as server:
        yield server


@pytest.fixture
async def database(full_server: ThrowAwayPostgres) -> AsyncIterator[Database]:
    async with one_connection(full_server, "custody") as database:
        yield database


async def explain(database: Database, wanted: Filter, after: Position | None) -> Plan:
    async def work(connection: Connection) -> None:
        await api_key_lists.page(connection, Caller("anyone"), wanted, after=after, size=PAGE)

    [plan] = await explained(database, work)
    return plan


async def last_page(database: Database, wanted: Filter) -> Position:
    """The position behind which the last page lies, found without the store's help."""
    conditions = ["true"]
    if wanted.client_id:
        conditions.append(f"client_id = '{wanted.client_id}'")
    if wanted.exchange:
        conditions.append(f"exchange = '{wanted.exchange}'")
    if wanted.state:
        conditions.append(f"bridge_state = '{wanted.state.value}'")
    if not wanted.show_deleted:
        conditions.append("NOT is_deleted")
    query = (
        f"SELECT created_at, id FROM exchange_api_keys WHERE {' AND '.join(conditions)}"  # noqa: S608 - ours
        f" ORDER BY created_at DESC, id DESC OFFSET {PAGE + 1} LIMIT 1"
    )
    async with database.autocommit() as connection:
        return Position(*(await connection.execute(text(query))).one())


async def first_and_last(database: Database, wanted: Filter) -> tuple[Plan, Plan]:
    await explain(database, wanted, None)  # what the session reads of the catalogue is not the page's
    first = await explain(database, wanted, None)
    return first, await explain(database, wanted, await last_page(database, wanted))


@pytest.mark.parametrize("name", FILTERS)
async def test_the_first_and_the_last_page_read_a_pageful_by_an_index(name: str, database: Database) -> None:
    first, last = await first_and_last(database, FILTERS[name])
    for plan in (first, last):
        assert plan.rows == PAGE + 1
        assert plan.discarded == 0
        assert plan.nodes == {"Limit", "Index Scan"}
    assert abs(first.buffers - last.buffers) <= SLACK, (first, last)


@pytest.mark.parametrize("name", TWO_FILTERS)
async def test_with_two_filters_no_more_than_the_clients_own_keys_are_read(
    name: str, database: Database
) -> None:
    for plan in await first_and_last(database, TWO_FILTERS[name]):
        assert plan.rows == PAGE + 1
        assert plan.rows + plan.discarded <= ROWS / CLIENTS
        assert "Seq Scan" not in plan.nodes


async def test_all_pages_together_hold_every_key_of_a_client_once_and_in_order(
    full_server: ThrowAwayPostgres, start_service: StartService
) -> None:
    service = start_service(
        "keyservice",
        DATABASE_URL=full_server.url("custody"),
        KEYSERVICE_ENCRYPTION_KEYS=MasterKey.generate(),
        KEYSERVICE_LOG_LEVEL="warning",
    ).wait_ready()
    seen: list[tuple[int, int, str]] = []
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub: Any = KeyServiceStub(channel)
        request = pb.ListApiKeysRequest(client_id=str(CLIENT), page_size=PAGE)
        while True:
            page = await stub.ListApiKeys(request, timeout=30)
            seen += [(key.create_time.seconds, key.create_time.nanos, key.id) for key in page.api_keys]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    assert len(seen) == ROWS // CLIENTS
    assert seen == sorted(set(seen))
