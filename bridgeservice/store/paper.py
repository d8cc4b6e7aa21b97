"""The tables of the paper exchange: accounts with balances, orders and fills.

Whoever changes anything of a paper account holds the lock on its row, so that changes of one account follow one
another and those of two never wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Numeric,
    Row,
    Select,
    TableValuedAlias,
    Text,
    and_,
    column,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.enums import PaperOrderState
from bridgeservice.exchanges.exchange import Balance, Owner
from bridgeservice.exchanges.orders import Reference
from bridgeservice.exchanges.paper_orders import Changes, PaperFill, PaperOrder
from bridgeservice.store import accounts
from servicekit.database.reads import Executor

_accounts = models.Account
_papers = models.PaperAccount
_balances = models.PaperBalance
_orders = models.PaperOrder
_fills = models.PaperFill


async def open_account(connection: AsyncConnection, owner: Owner, starting: Mapping[str, Decimal]) -> None:
    """Make the owner's paper account with what it starts with, unless it is there: the constraint decides who
    is first, and whoever is not waits until the first one is done.
    """
    account_id = await accounts.ensure(connection, owner.account_name)
    made = await connection.execute(
        insert(_papers)
        .values(account_id=account_id, connector_name=owner.connector_name)
        .on_conflict_do_nothing()
        .returning(_papers.id)
    )
    paper_id = made.scalar_one_or_none()
    if paper_id is not None and starting:
        rows = [
            {"paper_account_id": paper_id, "asset": asset, "free": free} for asset, free in starting.items()
        ]
        await connection.execute(insert(_balances).values(rows))


async def lock(connection: AsyncConnection, owner: Owner) -> UUID | None:
    """The owner's paper account, which nobody else changes until the unit of work ends; None when there is none."""
    statement = _of(select(_papers.id), owner).with_for_update(of=_papers)
    found: UUID | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def balances(executor: Executor, owner: Owner) -> list[Balance]:
    """What there is of each asset of which there is something, by asset; the sums are the database's, and exact."""
    total = _balances.free + _balances.used
    statement = _of(select(_balances.asset, _balances.free, _balances.used, total), owner, _balances)
    rows = await executor.execute(statement.where(total > 0).order_by(_balances.asset))
    return [Balance(asset, *(format(amount, "f") for amount in amounts)) for asset, *amounts in rows]


async def affords(connection: AsyncConnection, paper_id: UUID, changes: Changes) -> bool:
    """Whether no balance would be less than nothing after the changes."""
    given, mine = _given(paper_id, changes)
    enough = and_(
        func.coalesce(_balances.free, 0) + given.c.free >= 0,
        func.coalesce(_balances.used, 0) + given.c.used >= 0,
    )
    statement = select(func.bool_and(enough)).select_from(given).outerjoin(_balances, mine)
    return bool((await connection.execute(statement)).scalar_one())


async def change(connection: AsyncConnection, paper_id: UUID, changes: Changes) -> None:
    """Add the changes to the balances; the table refuses to have less than nothing of anything."""
    zeros = [{"paper_account_id": paper_id, "asset": asset} for asset in sorted(changes)]
    await connection.execute(insert(_balances).values(zeros).on_conflict_do_nothing())
    given, mine = _given(paper_id, changes)
    await connection.execute(
        update(_balances)
        .where(mine)
        .values(free=_balances.free + given.c.free, used=_balances.used + given.c.used)
    )


def _given(paper_id: UUID, changes: Changes) -> tuple[TableValuedAlias, ColumnElement[bool]]:
    """The changes as a table made of arrays, and which balance each of them is to."""
    arrays = (
        literal(list(changes), ARRAY(Text)),
        literal([each.free for each in changes.values()], ARRAY(Numeric)),
        literal([each.used for each in changes.values()], ARRAY(Numeric)),
    )
    named = (column("asset", Text), column("free", Numeric), column("used", Numeric))
    given = func.unnest(*arrays).table_valued(*named).render_derived(name="given")
    return given, and_(_balances.paper_account_id == paper_id, _balances.asset == given.c.asset)


async def add_order(connection: AsyncConnection, paper_id: UUID, order: PaperOrder) -> bool:
    """False when its client order id was used before."""
    added = await connection.execute(
        insert(_orders)
        .values(
            id=order.id,
            paper_account_id=paper_id,
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            type=order.type,
            state=order.state,
            amount=order.amount,
            price=order.price,
            fee_rate=order.fee_rate,
            created_at=order.created_at,
        )
        .on_conflict_do_nothing(constraint="uq_paper_orders_paper_account_id_client_order_id")
        .returning(_orders.id)
    )
    return added.scalar_one_or_none() is not None


async def add_fills(connection: AsyncConnection, fills: Sequence[tuple[PaperOrder, PaperFill]]) -> None:
    rows = [
        {
            "paper_order_id": order.id,
            "amount": order.amount,
            "price": fill.price,
            "cost": fill.cost,
            "fee_asset": fill.fee_asset,
            "fee": fill.fee,
            "filled_at": fill.time,
        }
        for order, fill in fills
    ]
    await connection.execute(insert(_fills).values(rows))


async def end(
    connection: AsyncConnection, paper_id: UUID, ids: Sequence[UUID], state: PaperOrderState
) -> list[PaperOrder]:
    """Bring those of the account's orders that are open into their last state; they are returned as they were.

    Under the account's lock, so that what is open stays so in between.
    """
    still_open = and_(
        _orders.paper_account_id == paper_id, _orders.id.in_(ids), _orders.state == PaperOrderState.OPEN
    )
    rows = (await connection.execute(select(*_COLUMNS).where(still_open))).all()
    await connection.execute(update(_orders).where(still_open).values(state=state))
    return [_order(row) for row in rows]


async def order(executor: Executor, owner: Owner, named: Reference) -> PaperOrder | None:
    """By the exchange's id where it is named, else by the client order id."""
    try:
        same = _orders.id == UUID(named.id) if named.id else _orders.client_order_id == named.client_order_id
    except ValueError:
        return None  # what is no UUID names no order
    found = await _read(executor, owner, and_(same, _orders.symbol == named.symbol))
    return found[0] if found else None


async def open_orders(executor: Executor, owner: Owner) -> list[PaperOrder]:
    """The oldest first."""
    return await _read(executor, owner, _orders.state == PaperOrderState.OPEN)


async def fills(
    executor: Executor, owner: Owner, symbol: str | None, since: datetime, limit: int
) -> list[tuple[PaperOrder, PaperFill]]:
    """The first at that time or later, the oldest first."""
    statement = _of(select(*_COLUMNS, *_FILL), owner, _orders).join(_fills).where(_fills.filled_at >= since)
    if symbol is not None:
        statement = statement.where(_orders.symbol == symbol)
    oldest = statement.order_by(_fills.filled_at, _fills.id).limit(limit)
    rows = await executor.execute(oldest)
    return [(order, order.fill) for order in map(_order, rows) if order.fill is not None]


_COLUMNS: Final = (
    _orders.id,
    _orders.client_order_id,
    _orders.symbol,
    _orders.side,
    _orders.type,
    _orders.state,
    _orders.amount,
    _orders.price,
    _orders.fee_rate,
    _orders.created_at,
)
_FILL: Final = (_fills.price, _fills.cost, _fills.fee, _fills.fee_asset, _fills.filled_at)


async def _read(executor: Executor, owner: Owner, condition: ColumnElement[bool]) -> list[PaperOrder]:
    statement = _of(select(*_COLUMNS, *_FILL), owner, _orders).outerjoin(_fills).where(condition)
    rows = await executor.execute(statement.order_by(_orders.created_at, _orders.id))
    return [_order(row) for row in rows]


def _order(row: Row[*tuple[Any, ...]]) -> PaperOrder:
    order, filled = PaperOrder(*row[: len(_COLUMNS)]), row[len(_COLUMNS) :]
    return replace(order, fill=PaperFill(*filled)) if any(filled) else order


def _of(
    statement: Select[*tuple[Any, ...]],
    owner: Owner,
    child: type[models.PaperBalance] | type[models.PaperOrder] | None = None,
) -> Select[*tuple[Any, ...]]:
    """What belongs to the owner's paper account: of its own row, or of a table that hangs on it."""
    joined = statement.select_from(_papers).join(_accounts)
    if child is not None:
        joined = joined.join(child, child.paper_account_id == _papers.id)
    return joined.where(
        _accounts.account_name == owner.account_name, _papers.connector_name == owner.connector_name
    )
