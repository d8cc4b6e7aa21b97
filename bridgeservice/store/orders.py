"""The journal's table: orders added, read and listed, and what is learnt of them.

An outcome is written by compare-and-swap on the state: what was learnt later of an order that has ended, or less than
is known already, changes nothing.
"""

from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Integer,
    Interval,
    Numeric,
    Row,
    Select,
    Text,
    Update,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningInsert

from bridgeservice import models
from bridgeservice.enums import OrderState, OrderType, TimeInForce
from bridgeservice.order_records import GIVEN_UP, NOT_ENDED, UNSETTLED, Draft, Filter, Order, Outcome
from bridgeservice.records import Place
from bridgeservice.rules import Ruling
from servicekit.database.pages import Within, fetch_page
from servicekit.database.reads import Executor
from servicekit.paging import Page, Position

_table = models.Order
_accounts = models.Account
CLOCK: Final = func.clock_timestamp()
# Literal, so that the planner sees that the index of open orders is meant.
OPEN: Final = _table.state.in_(
    [literal(state, _table.state.type, literal_execute=True) for state in NOT_ENDED]
)
NOT_FOUND: Final = and_(_table.reason.in_(GIVEN_UP), _table.exchange_order_id.is_(None))
"""Ended, as far as we know."""
# The row's own account, also where a row is what an INSERT returns: there SQLAlchemy would join the table once more.
_OWN: ColumnElement[UUID] = literal_column("bridge.orders.account_id", Uuid())
NAME: Final = select(_accounts.account_name).where(_accounts.id == _OWN).scalar_subquery()


def _columns(account_name: ColumnElement[str]) -> tuple[Any, ...]:
    """All that a record has, in its order."""
    return (
        *(_table.id, _table.account_id, account_name.label("account_name"), _table.connector_name),
        *(_table.exchange, _table.environment, _table.body_hash, _table.exchange_order_id),
        *(_table.client_order_id, _table.symbol, _table.side, _table.type, _table.time_in_force),
        *(_table.amount, _table.price, _table.state, _table.reason, _table.filled, _table.average_price),
        *(_table.cost, _table.fees, _table.external, _table.cancel_requested_at, _table.check_count),
        *(_table.created_at, _table.updated_at),
    )


COLUMNS: Final = _columns(NAME)


def record(row: Row[*tuple[Any, ...]] | tuple[Any, ...]) -> Order:
    return Order(*row)


async def add(
    connection: AsyncConnection, account_id: UUID, draft: Draft, ruling: Ruling, *, lease: timedelta
) -> Order | None:
    """The order as it is journalled: PENDING, and its sender's for the time of the lease; or REJECTED where it is
    refused. None when its request id was used before.
    """
    ticket, repetition = draft.ticket, draft.repetition
    values: dict[str, Any] = {
        "id": draft.id,
        "account_id": account_id,
        "connector_name": draft.connector.name,
        "exchange": draft.connector.exchange,
        "environment": draft.connector.environment,
        "request_id": repetition.request_id if repetition else None,
        "body_hash": repetition.body_hash if repetition else None,
        "client_order_id": ticket.client_order_id or None,
        "symbol": ticket.symbol,
        "side": ticket.side,
        "type": ticket.type,
        "time_in_force": ticket.time_in_force,
        "post_only": ticket.post_only,
        "reduce_only": ticket.reduce_only,
        "params": dict(ticket.params),
        "amount": Decimal(ticket.amount),
        "price": Decimal(ticket.price) if ticket.price else None,
        "notionals": dict(ruling.notionals),
        "state": OrderState.REJECTED if ruling.refused else OrderState.PENDING,
        "reason": ruling.refused or None,
        "lease": None if ruling.refused else lease,
    }
    row = (await connection.execute(_addition(), values)).one_or_none()
    return record(row) if row else None


async def by_request(executor: Executor, account_name: str, request_id: UUID) -> Order | None:
    """The order that this request id made."""
    statement = _of(account_name).where(_table.request_id == request_id)
    row = (await executor.execute(statement)).one_or_none()
    return record(row) if row else None


async def get(executor: Executor, account_name: str, order_id: UUID) -> Order | None:
    statement = _of(account_name).where(_table.id == order_id, ~_table.is_deleted)
    row = (await executor.execute(statement)).one_or_none()
    return record(row) if row else None


async def page(
    executor: Executor, account_id: UUID, wanted: Filter, *, after: Position | None, size: int
) -> Page[Order]:
    """The newest first."""
    query = select(*_columns(literal(wanted.account_name, Text))).where(~_table.is_deleted)
    within: list[Within] = [(_table.account_id, account_id)]
    filters: list[Within] = [
        (column, value)
        for column, value in ((_table.symbol, wanted.symbol), (_table.connector_name, wanted.connector_name))
        if value
    ]
    if wanted.open_only:
        query = query.where(OPEN)  # which are few, and have an index for all of an account's
    else:
        within += filters[:1]
    for column, value in filters[len(within) - 1 :]:
        query = query.where(column == value)
    keyset = (_table.created_at, _table.id)
    return await fetch_page(
        executor, query, keyset, record, after=after, size=size, newest_first=True, within=within
    )


async def all_open(executor: Executor, wanted: Filter) -> list[Order]:
    """Those that have not ended, the oldest first."""
    statement = _of(wanted.account_name).where(~_table.is_deleted, OPEN)
    if wanted.connector_name:
        statement = statement.where(_table.connector_name == wanted.connector_name)
    if wanted.symbol:
        statement = statement.where(_table.symbol == wanted.symbol)
    statement = statement.order_by(_table.created_at, _table.id)
    return [record(row) for row in await executor.execute(statement)]


async def connectors_with_open_orders(executor: Executor) -> list[Place]:
    statement = select(_accounts.account_name, _table.connector_name).distinct()
    statement = statement.join(_accounts, _accounts.id == _table.account_id)
    rows = await executor.execute(statement.where(_table.state == OrderState.OPEN, OPEN))
    return [(account_name, connector_name) for account_name, connector_name in rows]


async def write(connection: AsyncConnection, order_id: UUID, outcome: Outcome) -> Order | None:
    """The order with what was learnt of it; None where more is known by now. One that was given up is there after all
    where the exchange tells its own id of it.
    """
    values = {
        "order_id": order_id,
        "before": [state.value for state in outcome.instead_of],
        "to_state": outcome.state.value,
        "why": outcome.reason,
        "pause": outcome.again_in,
        "missed": int(outcome.missed),
        "not_before": outcome.not_before,
        "told_id": outcome.exchange_order_id,
        "told_filled": outcome.filled,
        "told_price": outcome.average_price,
        "told_cost": outcome.cost,
        "told_fees": dict(outcome.fees) or None,
    }
    row = (await connection.execute(_writing(), values)).one_or_none()
    return record(row) if row else None


def _of(account_name: str) -> Select[*tuple[Any, ...]]:
    """Orders of an account. Its id is looked up once, before an index is read with it."""
    account_id = select(_accounts.id).where(_accounts.account_name == account_name).scalar_subquery()
    return select(*_columns(literal(account_name, Text))).where(_table.account_id == account_id)


# Made once, as those of the hot paths are.


@cache
def _addition() -> ReturningInsert[*tuple[Any, ...]]:
    given: tuple[InstrumentedAttribute[Any], ...] = (
        *(_table.id, _table.account_id, _table.connector_name, _table.exchange, _table.environment),
        *(_table.request_id, _table.body_hash, _table.client_order_id, _table.symbol, _table.side),
        *(_table.type, _table.time_in_force, _table.post_only, _table.reduce_only, _table.params),
        *(_table.amount, _table.price, _table.notionals, _table.state, _table.reason),
    )
    values: dict[str, Any] = {column.key: bindparam(column.key, type_=column.type) for column in given}
    values["next_check_at"] = CLOCK + bindparam("lease", type_=Interval)
    return (
        insert(_table)
        .values(values)
        .on_conflict_do_nothing(constraint="uq_orders_account_id_request_id")
        .returning(*COLUMNS)
    )


@cache
def _writing() -> Update:
    # As text: PostgreSQL wants to know the type of what stands in several places.
    to_state: ColumnElement[str] = bindparam("to_state", type_=Text)
    goes_on = to_state.in_([each.value for each in UNSETTLED])
    # While it is open, nobody is done who wants it gone, nor with one that may not wait in the book.
    passing = or_(
        _table.cancel_requested_at.is_not(None),
        _table.type == OrderType.MARKET,
        _table.time_in_force.in_([TimeInForce.IOC, TimeInForce.FOK]),
    )
    is_checked = or_(goes_on, and_(to_state == OrderState.OPEN.value, passing))
    filled: ColumnElement[Any] = bindparam("told_filled", type_=Numeric)
    return (
        update(_table)
        .where(
            _table.id == bindparam("order_id", type_=Uuid),
            or_(
                _table.state == any_(bindparam("before", type_=ARRAY(Text))),
                and_(NOT_FOUND, bindparam("told_id", type_=Text).is_not(None)),
            ),
            func.coalesce(bindparam("not_before", type_=DateTime(timezone=True)) <= CLOCK, true()),
        )
        .values(
            state=cast(to_state, _table.state.type),
            reason=bindparam("why", type_=Text),
            exchange_order_id=func.coalesce(bindparam("told_id", type_=Text), _table.exchange_order_id),
            filled=case(
                (and_(to_state == OrderState.FILLED.value, filled.is_(None)), _table.amount),
                else_=func.greatest(_table.filled, filled),
            ),
            average_price=func.coalesce(bindparam("told_price", type_=Numeric), _table.average_price),
            cost=func.coalesce(bindparam("told_cost", type_=Numeric), _table.cost),
            fees=func.coalesce(bindparam("told_fees", type_=JSONB(none_as_null=True)), _table.fees),
            check_count=_table.check_count + bindparam("missed", type_=Integer),
            next_check_at=case((is_checked, CLOCK + bindparam("pause", type_=Interval))),
        )
        .returning(*COLUMNS)
    )
