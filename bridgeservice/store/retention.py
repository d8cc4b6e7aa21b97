"""What of orders and trades is shown: nothing is deleted for good, and what retention hides it can show again."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from bridgeservice import models
from bridgeservice.enums import OrderState

_ENDED: Final = (OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED)
_orders = models.Order
_trades = models.Trade


async def hide(connection: AsyncConnection, before: datetime, most: int) -> int:
    """Hide what is older than that, no more than so many of each; says how many rows it were.

    An order that has not ended is never hidden.
    """
    ended = await _change(connection, _orders, _orders.created_at, before, most, hidden=True)
    return ended + await _change(connection, _trades, _trades.traded_at, before, most, hidden=True)


async def show(connection: AsyncConnection, since: datetime, most: int) -> int:
    """Show again what is not older than that, no more than so many of each; says how many rows it were."""
    shown = await _change(connection, _orders, _orders.created_at, since, most, hidden=False)
    return shown + await _change(connection, _trades, _trades.traded_at, since, most, hidden=False)


async def _change(
    connection: AsyncConnection,
    table: type[models.Order] | type[models.Trade],
    time: InstrumentedAttribute[datetime],
    bound: datetime,
    most: int,
    *,
    hidden: bool,
) -> int:
    due: Any = and_(table.is_deleted.is_(not hidden), time < bound if hidden else time >= bound)
    if table is _orders:
        due = and_(due, _orders.state.in_(_ENDED))
    rows = select(table.id).where(due).order_by(time).limit(most).with_for_update(skip_locked=True)
    values: dict[str, Any] = {"is_deleted": hidden, "deleted_at": func.now() if hidden else None}
    changed = await connection.execute(update(table).where(table.id.in_(rows)).values(values))
    return changed.rowcount
