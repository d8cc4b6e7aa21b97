"""A million trades and what accounts were worth: an index leads to every page, and the last costs what the first does.

Ten accounts share the trades, so that none of them is rare, and a hundred the snapshots.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from bridgeservice.records import TradeFilter
from bridgeservice.store import accounts, external_orders, snapshots, trades
from bridgeservice.store.reconciliations import Due
from bridgeservice.store.snapshots import Range
from servicekit.database.engine import Database
from servicekit.paging import Position
from tests.evidence.filled import filled_server, one_connection
from tests.evidence.plans import Plan, explained
from tests.support.postgres import ThrowAwayPostgres

TRADES, SNAPSHOTS = 1_000_000, 200_000
PAGE = 50
# Pages of an index hold more or fewer entries, and a page's rows lie on more or fewer pages of the table.
SLACK = 5
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = timedelta(minutes=1)

# One trade in a hundred is on a rare market, one in twenty is deleted, and of one in a hundred the order is not known.
# Without the checks of foreign keys, and with the indexes made last, which is quicker.
FILL = f"""
SET session_replication_role = replica;
SET maintenance_work_mem = '256MB';
CREATE TEMP TABLE made AS SELECT indexname, indexdef FROM pg_indexes
 WHERE schemaname = 'bridge' AND tablename = 'trades' AND indexname LIKE 'ix_%';
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT indexname FROM made LOOP EXECUTE 'DROP INDEX bridge.' || name; END LOOP;
END $$;
INSERT INTO bridge.accounts (account_name) SELECT 'client_' || lpad(n::text, 2, '0') FROM generate_series(0, 99) n;
CREATE TEMP TABLE numbered AS SELECT array_agg(id ORDER BY account_name) AS ids FROM bridge.accounts;
INSERT INTO bridge.trades (account_id, connector_name, exchange_trade_id, symbol, side, amount, price, cost, traded_at,
                           is_deleted, deleted_at, exchange_order_id, order_id)
SELECT (SELECT ids[1 + n % 10] FROM numbered), CASE WHEN n / 10 % 3 = 0 THEN 'gate' ELSE 'kraken' END, n::text,
       CASE WHEN n / 10 % 100 = 7 THEN 'ODD/USDT' WHEN n / 10 % 7 = 0 THEN 'ETH/USDT' ELSE 'BTC/USDT' END,
       'buy', 1, 100, 100, timestamptz '2026-01-01 00:00 UTC' + make_interval(secs => n),
       n / 10 % 20 = 14, CASE WHEN n / 10 % 20 = 14 THEN now() END, 'x' || n / 30,
       CASE WHEN n % 1000 > 10 THEN gen_random_uuid() END
  FROM generate_series(1, {TRADES}) n;
DO $$ DECLARE definition text; BEGIN
    FOR definition IN SELECT indexdef FROM made LOOP EXECUTE definition; END LOOP;
END $$;
INSERT INTO bridge.portfolio_snapshots (account_id, connector_name, bucket, taken_at, quote_asset, value, balances,
                                        complete)
SELECT (SELECT ids[1 + n / 2 % 100] FROM numbered), CASE WHEN n % 2 = 0 THEN 'gate' ELSE 'kraken' END,
       timestamptz '2026-01-01 00:00 UTC' + make_interval(mins => n / 200), now(), 'USDT', n,
       '{{"BTC": {{"total": "1", "value": "100"}}}}', true
  FROM generate_series(0, {SNAPSHOTS} - 1) n;
ANALYZE bridge.trades, bridge.portfolio_snapshots, bridge.accounts;
"""  # noqa: S608 - figures of ours

AN_ORDER = """
INSERT INTO bridge.orders (account_id, connector_name, exchange, environment, symbol, side, amount, state,
                           exchange_order_id)
VALUES (:account_id, 'kraken', 'kraken', 'LIVE', 'BTC/USDT', 'buy', 1, 'open', 'new') RETURNING id
"""

FILTERS = {
    "all": (TradeFilter(), "ix_trades_account"),
    "since a time": (TradeFilter(since=START + timedelta(days=2)), "ix_trades_account"),
    "a connector": (TradeFilter(connector_name="kraken"), "ix_trades_connector"),
    "a common market": (TradeFilter(symbol="BTC/USDT"), "ix_trades_symbol"),
    "a rare market": (TradeFilter(symbol="ODD/USDT"), "ix_trades_symbol"),
}


@pytest.fixture(scope="module")
def full_server() -> Iterator[ThrowAwayPostgres]:
    with filled_server("ledger", FILL, "bridge.trades") as server:
        yield server


@pytest.fixture
async def database(full_server: ThrowAwayPostgres) -> AsyncIterator[Database]:
    async with one_connection(full_server, "ledger") as database:
        yield database


async def page(database: Database, wanted: TradeFilter, after: Position | None) -> Plan:
    [_, plan] = await explained(
        database, lambda connection: trades.page(connection, "client_03", wanted, after=after, size=PAGE)
    )
    return plan


async def last_page(database: Database, wanted: TradeFilter) -> Position:
    """The position behind which the last page lies, found without the store's help."""
    query = f"""
        SELECT traded_at, trades.id FROM bridge.trades JOIN bridge.accounts ON accounts.id = account_id
         WHERE account_name = 'client_03' AND NOT is_deleted
           AND (:symbol = '' OR symbol = :symbol) AND (:connector = '' OR connector_name = :connector)
           AND traded_at >= :since
         ORDER BY traded_at, trades.id OFFSET {PAGE + 1} LIMIT 1
    """  # noqa: S608 - a figure of ours
    async with database.autocommit() as connection:
        found = await connection.execute(
            text(query),
            {"symbol": wanted.symbol, "connector": wanted.connector_name, "since": wanted.since or START},
        )
    return Position(*found.one())


@pytest.mark.parametrize("name", FILTERS)
async def test_the_first_and_the_last_page_of_trades_read_a_pageful_by_an_index(
    name: str, database: Database
) -> None:
    wanted, index = FILTERS[name]
    await page(database, wanted, None)  # what the session reads of the catalogue is not the page's
    first = await page(database, wanted, None)
    last = await page(database, wanted, await last_page(database, wanted))
    for plan in (first, last):
        assert plan.rows == PAGE + 1
        assert plan.discarded == 0
        assert plan.nodes == {"Limit", "Index Scan"}
        assert plan.indexes == {index}
    assert abs(first.buffers - last.buffers) <= SLACK, (first, last)


async def history(database: Database, start: datetime) -> Plan:
    wanted = Range(start, start + 60 * MINUTES, timedelta(minutes=10))
    [_, plan] = await explained(
        database, lambda connection: snapshots.points(connection, "client_03", wanted, ["kraken"])
    )
    return plan


async def test_a_history_reads_its_own_range_by_an_index_wherever_that_lies(database: Database) -> None:
    await history(database, START)
    early = await history(database, START + 40 * MINUTES)
    late = await history(database, START + (SNAPSHOTS // 200 - 100) * MINUTES)
    for plan in (early, late):
        assert plan.rows == 6
        assert "Seq Scan" not in plan.nodes
        assert plan.indexes == {"ix_portfolio_snapshots_bucket"}
    assert abs(early.buffers - late.buffers) <= 2 * SLACK, (early, late)


async def test_trades_whose_order_is_not_known_are_found_by_an_index_of_theirs(database: Database) -> None:
    async with database.transaction() as connection:
        account_id = await accounts.find(connection, "client_03")
        assert account_id is not None
        order_id = (await connection.execute(text(AN_ORDER), {"account_id": account_id})).scalar_one()
    due = Due(account_id, "client_03", "kraken", START, True, START, {}, START)
    for work in (
        lambda connection: trades.adopt(connection, [order_id]),
        lambda connection: external_orders.owners(connection, due, PAGE),
    ):
        [plan] = await explained(database, work)
        assert "Seq Scan" not in plan.nodes
        assert "ix_trades_ownerless" in plan.indexes
        assert plan.buffers < 2000
