"""The journal's table where exchanges tell of orders that are not in it, or tell more of those that are."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.enums import OrderState
from bridgeservice.exchanges.orders import ExchangeOrder, Reference
from bridgeservice.order_records import NOT_ENDED, UNSETTLED, Order
from bridgeservice.records import Connector
from bridgeservice.store import trades
from bridgeservice.store.orders import CLOCK, COLUMNS, NOT_FOUND, OPEN, record
from bridgeservice.store.reconciliations import Due
from servicekit.database.reads import Executor

_ASKED_FOR: Final = timedelta(days=1)
"""For how long an exchange that does not know the order of a trade is asked for it again."""

_orders = models.Order
_trades = models.Trade


async def known(
    executor: Executor, due: Due, told: Sequence[ExchangeOrder]
) -> Mapping[tuple[str, str], Order]:
    """Those of an exchange's orders that are in the journal, by their market and their id there."""
    if not told:
        return {}
    found: dict[tuple[str, str], Order] = {}
    named = [(each.symbol, each.id) for each in told]
    statement = select(*COLUMNS).where(
        _orders.account_id == due.account_id, _orders.connector_name == due.connector_name
    )
    by_id = statement.where(tuple_(_orders.symbol, _orders.exchange_order_id).in_(named))
    for row in await executor.execute(by_id):
        order = record(row)
        found[order.symbol, order.exchange_order_id or ""] = order
    ours = {
        (each.symbol, each.client_order_id): each.id
        for each in told
        if each.client_order_id and (each.symbol, each.id) not in found
    }
    if ours:
        # Once its own id is known, or an order has ended otherwise than by never being found, others may use its client
        # order id anew.
        unsettled = statement.where(or_(OPEN, NOT_FOUND), _orders.exchange_order_id.is_(None))
        on_markets = _orders.symbol.in_({symbol for symbol, _ in ours})
        by_client_id = tuple_(_orders.symbol, _orders.client_order_id).in_(list(ours))
        for row in await executor.execute(unsettled.where(on_markets, by_client_id)):
            order = record(row)
            found[order.symbol, ours[order.symbol, order.client_order_id or ""]] = order
    return found


async def add(
    connection: AsyncConnection, due: Due, connector: Connector, told: ExchangeOrder, *, unwanted: bool
) -> bool:
    """Journal an order that was made elsewhere, with the trades of it that came before; whether it was new.

    One that is ``unwanted`` is to go if it waits. One of which the exchange does not say how it stands is asked for.
    """
    is_due = told.state in UNSETTLED or (unwanted and told.state in NOT_ENDED)
    values: dict[str, Any] = {
        "account_id": due.account_id,
        "connector_name": due.connector_name,
        "exchange": connector.exchange,
        "environment": connector.environment,
        "exchange_order_id": told.id,
        "client_order_id": told.client_order_id or None,
        "symbol": told.symbol,
        "side": told.side,
        "type": told.type,
        "time_in_force": told.time_in_force,
        "amount": Decimal(told.amount),
        "price": _number(told.price) or None,
        "state": told.state,
        "filled": _number(told.filled) or Decimal(0),
        "average_price": _number(told.average_price) or None,
        "cost": _number(told.cost),
        "fees": trades.summed(told.fees),
        "external": True,
        "cancel_requested_at": CLOCK if unwanted and is_due else None,
        "next_check_at": CLOCK if is_due else None,
    }
    if told.time is not None:
        values["created_at"] = told.time
    added = await connection.execute(
        insert(_orders).values(values).on_conflict_do_nothing().returning(_orders.id)
    )
    order_id: UUID | None = added.scalar_one_or_none()
    if order_id is not None:
        await trades.adopt(connection, [order_id])
    return order_id is not None


async def owners(executor: Executor, due: Due, most: int) -> list[tuple[Reference, UUID | None]]:
    """The orders of trades that have none yet and were stored not long ago, those of the newest first; with our id of
    one that is in the journal after all, because both came at the same moment.
    """
    statement = (
        select(_trades.symbol, _trades.exchange_order_id, _orders.id)
        .outerjoin(
            _orders,
            and_(
                _orders.account_id == _trades.account_id,
                _orders.connector_name == _trades.connector_name,
                _orders.symbol == _trades.symbol,
                _orders.exchange_order_id == _trades.exchange_order_id,
            ),
        )
        .where(
            _trades.account_id == due.account_id,
            _trades.connector_name == due.connector_name,
            _trades.traded_at >= due.used_since,
            _trades.created_at >= CLOCK - _ASKED_FOR,
            _trades.order_id.is_(None),
            _trades.exchange_order_id.is_not(None),
            ~_trades.is_deleted,
        )
        .group_by(_trades.symbol, _trades.exchange_order_id, _orders.id)
        .order_by(func.max(_trades.traded_at).desc())
        .limit(most)
    )
    return [
        (Reference(symbol, exchange_id), order_id)
        for symbol, exchange_id, order_id in await executor.execute(statement)
    ]


async def markets(executor: Executor, due: Due) -> list[str]:
    """Those on which anything was ever ordered through the connector, or traded."""
    ordered = select(_orders.symbol).where(
        _orders.account_id == due.account_id, _orders.connector_name == due.connector_name
    )
    statement = ordered.where(_orders.state != OrderState.REJECTED).distinct().order_by(_orders.symbol)
    return list((await executor.execute(statement)).scalars())


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None
