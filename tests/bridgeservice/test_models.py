"""TradingBridge's tables, as whoever inserts into them with plain SQL finds them."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from bridgeservice import models
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.schema import require_schema
from servicekit.database.url import DatabaseUrl
from servicekit.errors import StartupError
from tests.support.old_database import plain_connection

EXACT = "0.12345678901234567890"
INSTRUMENT: dict[str, object] = {
    "exchange": "kraken",
    "environment": "LIVE",
    "kind": "market",
    "symbol": "A/B",
}
ORDER: dict[str, object] = {"symbol": "A/B", "side": "buy", "type": "limit", "amount": 1, "price": 1}
MARKET_ORDER: dict[str, object] = {
    "symbol": "A/B",
    "side": "buy",
    "type": "market",
    "amount": 1,
    "state": "filled",
}
FILL: dict[str, object] = {"amount": 2, "price": 3, "cost": 6, "fee_asset": "B", "fee": 0}

CONTRADICTIONS: list[tuple[str, str, dict[str, object]]] = [
    ("ck_paper_orders_only_limits_are_open", "paper_orders", {**MARKET_ORDER, "state": "open"}),
    ("ck_accounts_account_name_not_empty", "accounts", {"account_name": ""}),
    ("uq_accounts_account_name", "accounts", {"account_name": "client_1"}),
    ("ck_instruments_environment", "instruments", {**INSTRUMENT, "payload": "{}", "environment": "live"}),
    ("ck_instruments_kind", "instruments", {**INSTRUMENT, "payload": "{}", "kind": "MARKET"}),
    ("uq_paper_accounts_account_id_connector_name", "paper_accounts", {"connector_name": "paper"}),
    ("ck_paper_balances_free_not_negative", "paper_balances", {"asset": "A", "free": "-1e-30"}),
    ("ck_paper_balances_free_not_negative", "paper_balances", {"asset": "A", "free": "NaN"}),
    ("ck_paper_balances_used_not_negative", "paper_balances", {"asset": "A", "used": -1}),
    ("ck_paper_balances_used_not_negative", "paper_balances", {"asset": "A", "used": "Infinity"}),
    ("ck_paper_orders_side", "paper_orders", {**ORDER, "side": "BUY"}),
    ("ck_paper_orders_type", "paper_orders", {**MARKET_ORDER, "type": "stop"}),
    ("ck_paper_orders_state", "paper_orders", {**ORDER, "state": "gone"}),
    ("ck_paper_orders_amount_positive", "paper_orders", {**ORDER, "amount": 0}),
    ("ck_paper_orders_amount_positive", "paper_orders", {**ORDER, "amount": "NaN"}),
    ("ck_paper_orders_price_positive", "paper_orders", {**ORDER, "price": -1}),
    (
        "ck_paper_orders_price_exactly_with_limit",
        "paper_orders",
        {**MARKET_ORDER, "price": 1},
    ),
    ("ck_paper_orders_fee_rate_is_a_share", "paper_orders", {**ORDER, "fee_rate": 1}),
    ("ck_paper_fills_cost_exact", "paper_fills", {**FILL, "cost": "6.00000000000000000001"}),
    ("ck_paper_fills_fee_not_negative", "paper_fills", {**FILL, "fee": -1}),
    ("ck_paper_fills_amount_positive", "paper_fills", {**FILL, "amount": 0, "cost": 0}),
    ("ck_paper_fills_price_positive", "paper_fills", {**FILL, "price": 0, "cost": 0}),
]


async def insert(url: DatabaseUrl, table: str, **values: object) -> dict[str, Any]:
    """As someone at psql would, who names no more columns than he must."""
    given = ", ".join(f"'{value}'" for value in values.values())
    async with plain_connection(url) as connection:
        row = await connection.fetchrow(
            f"INSERT INTO bridge.{table} ({', '.join(values)}) VALUES ({given}) RETURNING *"  # noqa: S608 - ours
        )
    return dict(row)


@pytest.fixture
async def parents(database_url: DatabaseUrl) -> dict[str, UUID]:
    """An account with a paper account and an order, by the columns that refer to them."""
    account = await insert(database_url, "accounts", account_name="client_1")
    paper = await insert(database_url, "paper_accounts", account_id=account["id"], connector_name="paper")
    order = await insert(database_url, "paper_orders", paper_account_id=paper["id"], **ORDER)
    return {"account_id": account["id"], "paper_account_id": paper["id"], "paper_order_id": order["id"]}


async def test_the_database_at_head_is_like_the_models(database: Database) -> None:
    await require_schema(database, models.METADATA)


async def test_a_plain_insert_that_leaves_out_what_has_a_default_has_it(
    database_url: DatabaseUrl, parents: dict[str, UUID]
) -> None:
    rows = {
        "accounts": await insert(database_url, "accounts", account_name="client_2"),
        "instruments": await insert(database_url, "instruments", payload="{}", **INSTRUMENT),
        "paper_accounts": await insert(
            database_url, "paper_accounts", account_id=parents["account_id"], connector_name="paper:2"
        ),
        "paper_balances": await insert(
            database_url, "paper_balances", paper_account_id=parents["paper_account_id"], asset="A"
        ),
        "paper_orders": await insert(
            database_url, "paper_orders", paper_account_id=parents["paper_account_id"], **ORDER
        ),
        "paper_fills": await insert(
            database_url, "paper_fills", paper_order_id=parents["paper_order_id"], **FILL
        ),
    }
    for name, row in rows.items():
        for column in models.METADATA.tables[f"bridge.{name}"].columns:
            if not column.nullable:
                assert row[column.name] is not None, column


async def test_an_amount_keeps_every_digit(database_url: DatabaseUrl, parents: dict[str, UUID]) -> None:
    row = await insert(
        database_url, "paper_balances", paper_account_id=parents["paper_account_id"], asset="A", free=EXACT
    )
    assert format(row["free"], "f") == EXACT


async def test_a_row_that_contradicts_itself_or_another_is_refused(
    database_url: DatabaseUrl, parents: dict[str, UUID]
) -> None:
    for constraint, table, values in CONTRADICTIONS:
        columns = models.METADATA.tables[f"bridge.{table}"].columns
        owners = {name: key for name, key in parents.items() if name in columns}
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=f'"{constraint}"'):
            await insert(database_url, table, **owners, **values)


async def test_an_order_is_filled_once_and_its_client_order_id_used_once(
    database_url: DatabaseUrl, parents: dict[str, UUID]
) -> None:
    fill = {"paper_order_id": parents["paper_order_id"], **FILL}
    order = {"paper_account_id": parents["paper_account_id"], "client_order_id": "x", **ORDER}
    for table, values in (("paper_fills", fill), ("paper_orders", order)):
        await insert(database_url, table, **values)
        with pytest.raises(asyncpg.UniqueViolationError):
            await insert(database_url, table, **values)


async def test_what_history_hangs_on_is_not_removed(
    database_url: DatabaseUrl, parents: dict[str, UUID]
) -> None:
    await insert(database_url, "paper_fills", paper_order_id=parents["paper_order_id"], **FILL)
    async with plain_connection(database_url) as connection:
        for table in ("accounts", "paper_accounts", "paper_orders"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await connection.execute(f"DELETE FROM bridge.{table}")  # noqa: S608 - ours


async def test_a_database_with_accounts_is_not_downgraded(
    database_url: DatabaseUrl, parents: dict[str, UUID]
) -> None:
    with pytest.raises(StartupError, match="holds accounts, which this downgrade would destroy"):
        await migrate.downgrade(database_url, "0002")
    async with plain_connection(database_url) as connection:
        assert await connection.fetchval("SELECT id FROM bridge.accounts") == parents["account_id"]
