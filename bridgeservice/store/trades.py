"""The table of trades: fills go in by the batch, and the orders that they fill change in the same transaction."""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Numeric, Text, Uuid, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.exchanges.orders import ExchangeTrade, Fee
from bridgeservice.records import Trade, TradeFilter
from bridgeservice.store import accounts
from servicekit.database.pages import Within, fetch_page
from servicekit.database.reads import Executor
from servicekit.paging import Page, Position

BATCH: Final = 1000
"""Rows a statement."""

_TIME = TIMESTAMP(timezone=True)
_table = models.Trade
_COLUMNS: Final = (
    *(_table.id, _table.exchange_trade_id, _table.order_id, _table.symbol, _table.side),
    *(_table.amount, _table.price, _table.cost, _table.fees, _table.traded_at),
)


async def apply(
    connection: AsyncConnection, account_id: UUID, connector_name: str, trades: Sequence[ExchangeTrade]
) -> int:
    """Store what is not there yet, and fill the orders with it; says how many trades were new.

    However often a fill is told, and by however many at once: it counts once, because an order is filled by what
    its stored trades come to.
    """
    new = 0
    for start in range(0, len(trades), BATCH):
        added = await connection.execute(
            _ADDITION,
            _arrays(trades[start : start + BATCH]) | {"account_id": account_id, "connector": connector_name},
        )
        found = added.all()
        new += len(found)
        if filled := sorted({row.order_id for row in found if row.order_id is not None}):
            await fill(connection, filled)
    return new


async def fill(connection: AsyncConnection, order_ids: Sequence[UUID]) -> None:
    """Bring orders to what their stored trades come to. What the exchange told of an order beyond that stays."""
    # Held by a statement of its own: only the next one is sure to see what whoever held them before has stored.
    await connection.execute(_HOLDING, {"ids": list(order_ids)})
    await connection.execute(_FILLING, {"ids": list(order_ids)})


async def adopt(connection: AsyncConnection, order_ids: Sequence[UUID]) -> None:
    """Give orders those trades that came before it was known whose they are, and fill them with these."""
    adopted = await connection.execute(_ADOPTION, {"ids": list(order_ids)})
    if filled := sorted(set(adopted.scalars())):
        await fill(connection, filled)


async def page(
    executor: Executor, account_name: str, wanted: TradeFilter, *, after: Position | None, size: int
) -> Page[Trade]:
    """An account's trades, the newest first."""
    account_id = await accounts.find(executor, account_name)
    if account_id is None:
        return Page([], None)
    query = select(*_COLUMNS).where(~_table.is_deleted)
    if wanted.since is not None:
        query = query.where(_table.traded_at >= wanted.since)
    # Each of the two has an index, behind the account; the market leaves the fewer rows, mostly.
    within: list[Within] = [(_table.account_id, account_id)]
    if wanted.symbol:
        within.append((_table.symbol, wanted.symbol))
    if wanted.connector_name and wanted.symbol:
        query = query.where(_table.connector_name == wanted.connector_name)
    elif wanted.connector_name:
        within.append((_table.connector_name, wanted.connector_name))
    return await fetch_page(
        executor,
        query,
        (_table.traded_at, _table.id),
        lambda row: Trade(*row),
        after=after,
        size=size,
        newest_first=True,
        within=within,
    )


def summed(fees: Iterable[Fee]) -> Mapping[str, str]:
    """Fees by asset, as the tables keep them."""
    totals: dict[str, Decimal] = {}
    for fee in fees:
        if fee.asset and fee.amount:
            totals[fee.asset] = totals.get(fee.asset, Decimal(0)) + Decimal(fee.amount)
    return {asset: format(total, "f") for asset, total in totals.items()}


def _arrays(trades: Sequence[ExchangeTrade]) -> dict[str, Any]:
    """An array for each column: the statement's text and its plan do not depend on how many there are."""
    return {
        "trade_ids": [each.id for each in trades],
        "exchange_orders": [each.order_id or None for each in trades],
        "symbols": [each.symbol for each in trades],
        "sides": [each.side.value for each in trades],
        "amounts": [Decimal(each.amount) for each in trades],
        "prices": [Decimal(each.price) for each in trades],
        "costs": [Decimal(each.cost) for each in trades],
        "fees": [json.dumps(summed(each.fees)) for each in trades],
        "times": [each.time for each in trades],
    }


_ADDITION: Final = text(
    """
    INSERT INTO bridge.trades AS trade (
        account_id, connector_name, order_id, exchange_trade_id, exchange_order_id, symbol, side,
        amount, price, cost, fees, traded_at
    )
    SELECT :account_id, :connector, orders.id, given.trade_id, given.exchange_order, given.symbol, given.side,
           given.amount, given.price, given.cost, given.fees::jsonb, given.time
      FROM unnest(:trade_ids, :exchange_orders, :symbols, :sides, :amounts, :prices, :costs, :fees, :times)
           AS given (trade_id, exchange_order, symbol, side, amount, price, cost, fees, time)
      LEFT JOIN bridge.orders
             ON orders.account_id = :account_id AND orders.connector_name = :connector
            AND orders.symbol = given.symbol AND orders.exchange_order_id = given.exchange_order
     -- In one order, so that two who store the same trades never wait for each other.
     ORDER BY given.symbol, given.trade_id
        ON CONFLICT (account_id, connector_name, symbol, exchange_trade_id) DO NOTHING
    RETURNING trade.order_id
    """
).bindparams(
    bindparam("account_id", type_=Uuid()),
    bindparam("connector", type_=Text()),
    *(
        bindparam(name, type_=ARRAY(Text()))
        for name in ("trade_ids", "exchange_orders", "symbols", "sides", "fees")
    ),
    *(bindparam(name, type_=ARRAY(Numeric())) for name in ("amounts", "prices", "costs")),
    bindparam("times", type_=ARRAY(_TIME)),
)

_HOLDING: Final = text(
    "SELECT FROM bridge.orders WHERE id = ANY (:ids) ORDER BY id FOR NO KEY UPDATE"
).bindparams(bindparam("ids", type_=ARRAY(Uuid())))

_FILLING: Final = text(
    """
    WITH sums AS (
        SELECT order_id, sum(amount) AS amount, sum(cost) AS cost, sum(amount * price) AS worth
          FROM bridge.trades
         WHERE order_id = ANY (:ids)
         GROUP BY order_id
    ), paid AS (
        SELECT order_id, jsonb_object_agg(asset, total) AS fees
          FROM (
                SELECT order_id, fee.key AS asset, sum(fee.value::numeric)::text AS total
                  FROM bridge.trades, jsonb_each_text(fees) AS fee
                 WHERE order_id = ANY (:ids)
                 GROUP BY order_id, fee.key
               ) AS by_asset
         GROUP BY order_id
    )
    UPDATE bridge.orders
       SET filled = sums.amount,
           cost = sums.cost,
           average_price = sums.worth / sums.amount,
           fees = coalesce(paid.fees, '{}'),
           state = CASE WHEN sums.amount >= orders.amount THEN 'filled' ELSE orders.state END,
           reason = CASE WHEN sums.amount >= orders.amount THEN NULL ELSE orders.reason END,
           next_check_at = CASE WHEN sums.amount >= orders.amount THEN NULL ELSE orders.next_check_at END,
           updated_at = statement_timestamp()
      FROM sums LEFT JOIN paid USING (order_id)
     WHERE orders.id = sums.order_id AND sums.amount >= orders.filled
    """
).bindparams(bindparam("ids", type_=ARRAY(Uuid())))

_ADOPTION: Final = text(
    """
    UPDATE bridge.trades
       SET order_id = orders.id, updated_at = statement_timestamp()
      FROM bridge.orders
     WHERE orders.id = ANY (:ids) AND trades.order_id IS NULL
       AND trades.account_id = orders.account_id AND trades.connector_name = orders.connector_name
       AND trades.symbol = orders.symbol AND trades.exchange_order_id = orders.exchange_order_id
    RETURNING trades.order_id
    """
).bindparams(bindparam("ids", type_=ARRAY(Uuid())))
