"""ListOrders at 200,000 rows: an index leads to every page, and the last one costs what the first does."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice.order_records import Filter
from bridgeservice.store import order_claims, orders
from servicekit.database.engine import Database
from servicekit.paging import Position
from tests.evidence.filled import filled_server, one_connection
from tests.evidence.plans import Plan, explained
from tests.support.postgres import ThrowAwayPostgres

ROWS, ACCOUNTS, BUSY = 200_000, 5_000, "account 1"
PAGE = 50
# Pages of an index hold more or fewer entries, and a page's rows lie on more or fewer pages of the table.
SLACK = 12

# Half of the orders are one account's; one order in ten is deleted, one in 100 is open, one in 1000 on a rare market.
FILL = f"""
INSERT INTO bridge.accounts (id, account_name) SELECT lpad(to_hex(n), 32, '0')::uuid, 'account ' || n
  FROM generate_series(1, {ACCOUNTS}) n;
INSERT INTO bridge.orders (account_id, connector_name, exchange, environment, exchange_order_id, symbol, side, type,
                           amount, price, state, created_at, is_deleted, deleted_at)
SELECT lpad(to_hex(CASE WHEN n % 2 = 0 THEN 1 ELSE 1 + n % {ACCOUNTS} END), 32, '0')::uuid,
       CASE WHEN n % 3 = 0 THEN 'kraken' ELSE 'binance' END, 'kraken', 'LIVE', n::text,
       CASE WHEN n % 1000 = 18 THEN 'SHARP/USDT' ELSE 'BTC/USDT' END, 'buy', 'limit', 1, 100,
       CASE WHEN n % 100 = 4 THEN 'open' ELSE 'filled' END,
       timestamptz '2026-01-01' + make_interval(secs => n / 3), n % 10 = 6, CASE WHEN n % 10 = 6 THEN now() END
  FROM generate_series(1, {ROWS}) n;
"""  # noqa: S608 - figures of ours

FILTERS = {
    "an account": Filter(BUSY),
    "a market": Filter(BUSY, symbol="BTC/USDT"),
    "a rare market": Filter(BUSY, symbol="SHARP/USDT"),
    "what is open": Filter(BUSY, open_only=True),
    "a connector": Filter(BUSY, "kraken"),
    "what is open at a connector": Filter(BUSY, "kraken", open_only=True),
}


@pytest.fixture(scope="module")
def full_server() -> Iterator[ThrowAwayPostgres]:
    with filled_server("orders", FILL, "bridge.orders", "bridge.accounts") as server:
        yield server


@pytest.fixture
async def database(full_server: ThrowAwayPostgres) -> AsyncIterator[Database]:
    async with one_connection(full_server, "orders") as database:
        yield database


async def explain(
    database: Database, wanted: Filter, after: Position | None, *, generic: bool = False
) -> Plan:
    async def page(connection: AsyncConnection) -> None:
        await orders.page(connection, UUID(int=1), wanted, after=after, size=PAGE)

    [plan] = await explained(database, page, generic=generic)
    return plan


async def last_page(database: Database, wanted: Filter) -> Position:
    """The position behind which the last page lies, found without the store's help."""
    conditions = ["account_name = :account", "NOT is_deleted"]
    conditions += [f"symbol = '{wanted.symbol}'"] * bool(wanted.symbol)
    conditions += [f"connector_name = '{wanted.connector_name}'"] * bool(wanted.connector_name)
    conditions += ["state = 'open'"] * wanted.open_only
    query = (
        "SELECT o.created_at, o.id FROM bridge.orders o JOIN bridge.accounts a ON a.id = o.account_id"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} ORDER BY o.created_at, o.id OFFSET {PAGE + 1} LIMIT 1"
    )
    async with database.autocommit() as connection:
        found = await connection.execute(text(query), {"account": wanted.account_name})
        return Position(*found.one())


@pytest.mark.parametrize("name", FILTERS)
async def test_the_first_and_the_last_page_read_a_pageful_by_an_index(name: str, database: Database) -> None:
    wanted = FILTERS[name]
    await explain(database, wanted, None)  # what the session reads of the catalogue is not the page's
    first = await explain(database, wanted, None)
    last = await explain(database, wanted, await last_page(database, wanted))
    repeated = await explain(database, wanted, None, generic=True)
    for plan in (first, last, repeated):
        assert plan.rows == PAGE + 1
        assert plan.nodes <= {"Limit", "Index Scan"}
        assert plan.discarded <= 3 * PAGE  # of what is open, which are few, others may be passed over
    assert abs(first.buffers - last.buffers) <= SLACK, (first, last)


async def test_what_is_due_is_found_by_an_index_among_all_orders(database: Database) -> None:
    [plan] = await explained(database, order_claims.due)
    assert "Seq Scan" not in plan.nodes
    assert "ix_orders_due" in plan.indexes
    assert plan.buffers <= SLACK
