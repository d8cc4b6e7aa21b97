"""The journal's table as those see it who find out what became of orders: what is due, and who asks about it.

``next_check_at`` is all that says so. Whoever sends an order or asks about it has it until then, somebody else may ask
after it, and NULL means that nobody has to. So what a dead process had comes free by itself.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, and_, any_, case, column, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.enums import OrderState
from bridgeservice.order_records import INTERRUPTED, Claimed, Due, Order, Twin
from bridgeservice.records import Place
from bridgeservice.store.orders import CLOCK, COLUMNS, NAME, OPEN, record
from servicekit.database.reads import Executor

_table = models.Order
_accounts = models.Account
_DUE: Final = _table.next_check_at <= CLOCK


async def due(executor: Executor) -> list[Due]:
    """Of each connector with orders that are due, one."""
    pending = _table.state == OrderState.PENDING
    first = func.array_agg(aggregate_order_by(_table.id, _table.next_check_at, _table.id))[1]
    statement = (
        select(NAME, _table.connector_name, first, func.bool_or(pending))
        .where(_DUE)
        .group_by(_table.account_id, _table.connector_name)
        .order_by(func.min(_table.next_check_at))
    )
    return [Due(*row) for row in await executor.execute(statement)]


async def interrupt(connection: AsyncConnection) -> int:
    """Of orders whose sender's time is over nobody knows what became; says how many there were."""
    over = (
        select(_table.id)
        .where(_DUE, _table.state == OrderState.PENDING)
        .with_for_update(skip_locked=True)
        .cte("over")
    )
    statement = update(_table).where(_table.id == over.c.id)
    statement = statement.values(state=OrderState.UNKNOWN, reason=INTERRUPTED)
    return (await connection.execute(statement)).rowcount


async def claim(connection: AsyncConnection, ids: Sequence[UUID], lease: timedelta) -> list[Claimed]:
    """Those of the orders that are still due, and that nobody else has meanwhile; none that is being sent."""
    free = (
        select(_table.id)
        .where(_table.id == any_(literal(list(ids), ARRAY(Uuid))), _DUE, _table.state != OrderState.PENDING)
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    statement = update(_table).where(_table.id == free.c.id).values(next_check_at=CLOCK + lease, **_UNCHANGED)
    return await _claimed(connection, statement)


async def request_cancel(connection: AsyncConnection, order_id: UUID, lease: timedelta) -> Claimed | None:
    """Remember that somebody wants the order gone, and have it unless it is being sent; None when it has ended."""
    sending = _table.state == OrderState.PENDING
    statement = (
        update(_table)
        .where(_table.id == order_id, OPEN)
        .values(
            cancel_requested_at=func.coalesce(_table.cancel_requested_at, CLOCK),
            next_check_at=case((sending, _table.next_check_at), else_=CLOCK + lease),
        )
    )
    claimed = await _claimed(connection, statement)
    return claimed[0] if claimed else None


async def request_cancels(connection: AsyncConnection, account_id: UUID, connector_name: str) -> None:
    """Remember that every order of a connector is to go, or of the account where the name is empty. All are due now."""
    sending = _table.state == OrderState.PENDING
    statement = update(_table).where(_table.account_id == account_id, OPEN)
    if connector_name:
        statement = statement.where(_table.connector_name == connector_name)
    await connection.execute(
        statement.values(
            cancel_requested_at=func.coalesce(_table.cancel_requested_at, CLOCK),
            next_check_at=case((sending, _table.next_check_at), else_=CLOCK),
        )
    )


async def leave_open(connection: AsyncConnection, order: Order) -> None:
    """Nobody asks about an open order any more, nor for its end: unless somebody has come to want that meanwhile."""
    same_wish = _table.cancel_requested_at.is_not_distinct_from(order.cancel_requested_at)
    statement = update(_table).where(_table.id == order.id, _table.state == OrderState.OPEN, same_wish)
    await connection.execute(statement.values(cancel_requested_at=None, next_check_at=None))


async def postpone(connection: AsyncConnection, order_id: UUID, pause: timedelta) -> None:
    """Nothing was learnt: somebody asks again after the pause."""
    statement = update(_table).where(_table.id == order_id, OPEN, _table.next_check_at.is_not(None))
    await connection.execute(statement.values(next_check_at=CLOCK + pause, **_UNCHANGED))


async def hurry(connection: AsyncConnection, places: Sequence[Place]) -> int:
    """Make due what waits of these connectors; says how many orders that were."""
    names, connector_names = zip(*places, strict=True)
    arrays = (literal(list(each), ARRAY(Text)) for each in (names, connector_names))
    named = (column(name, Text) for name in ("account_name", "connector_name"))
    given = func.unnest(*arrays).table_valued(*named).render_derived(name="given")
    waiting = (
        select(_table.id)
        .select_from(given)
        .join(_accounts, _accounts.account_name == given.c.account_name)
        .join(
            _table,
            and_(_table.account_id == _accounts.id, _table.connector_name == given.c.connector_name),
        )
        .where(OPEN, _table.state != OrderState.PENDING, _table.next_check_at > CLOCK)
        .with_for_update(of=_table, skip_locked=True)
        .cte("waiting")
    )
    statement = update(_table).where(_table.id == waiting.c.id).values(next_check_at=CLOCK, **_UNCHANGED)
    return (await connection.execute(statement)).rowcount


async def rivals(
    executor: Executor, order: Order, ids: Collection[str], overdue_after: timedelta
) -> tuple[list[Twin], set[str]]:
    """The orders that look like this one to its exchange, itself among them, and those of the exchange's ids that
    are in the journal already. Both as of one moment.
    """
    place = and_(
        _table.account_id == order.account_id,
        _table.connector_name == order.connector_name,
        _table.symbol == order.symbol,
    )
    late = and_(_table.state == OrderState.UNKNOWN, _table.created_at + overdue_after <= CLOCK)
    alike = select(_table.id, _table.created_at, late.label("overdue"), null().label("taken")).where(
        place,
        OPEN,
        or_(_table.state == OrderState.PENDING, _table.state == OrderState.UNKNOWN),
        _table.exchange_order_id.is_(None),
        _table.side == order.side,
        _table.type == order.type,
        _table.amount == order.amount,
        _table.price.is_not_distinct_from(order.price),
    )
    known = select(_table.id, _table.created_at, null(), _table.exchange_order_id).where(
        place, _table.exchange_order_id == any_(literal(list(ids), ARRAY(Text)))
    )
    rows = (await executor.execute(alike.union_all(known))).all()
    twins = [Twin(row.id, row.created_at, row.overdue) for row in rows if row.taken is None]
    return twins, {row.taken for row in rows if row.taken is not None}


# Nothing of the order itself: it was not changed, only asked about.
_UNCHANGED: Final[dict[str, Any]] = {"updated_at": _table.updated_at}


async def _claimed(connection: AsyncConnection, statement: Any) -> list[Claimed]:
    rows = await connection.execute(statement.returning(*COLUMNS, CLOCK))
    return [Claimed(record(tuple(row)[:-1]), row[-1]) for row in rows]
