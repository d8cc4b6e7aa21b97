"""The table of clients."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from keyservice import models
from keyservice.records import Caller, Client
from keyservice.store.scope import parameters, visible
from servicekit.database.pages import fetch_page
from servicekit.database.reads import Executor
from servicekit.paging import Page, Position

_table = models.Client
_columns: tuple[InstrumentedAttribute[Any], ...] = (
    _table.id,
    _table.name,
    _table.external_id,
    _table.created_at,
    _table.updated_at,
    _table.deleted_at,
)


def _record(row: Row[*tuple[Any, ...]]) -> Client:
    return Client(*row)


async def add(connection: AsyncConnection, client_id: UUID, name: str, external_id: str | None) -> Client:
    statement = insert(_table).values(id=client_id, name=name, external_id=external_id).returning(*_columns)
    return _record((await connection.execute(statement)).one())


async def get(connection: Executor, client_id: UUID, caller: Caller) -> Client | None:
    statement = _by_id(client_id, caller)
    row = (await connection.execute(statement)).one_or_none()
    return _record(row) if row else None


async def lock(connection: AsyncConnection, client_id: UUID, caller: Caller) -> Client | None:
    """The client, which nobody else changes until the unit of work ends, and to which nobody adds a key."""
    statement = _by_id(client_id, caller).with_for_update()
    row = (await connection.execute(statement)).one_or_none()
    return _record(row) if row else None


async def lock_owner(connection: AsyncConnection, key_id: UUID, caller: Caller) -> Client | None:
    """The same for the client that a key belongs to, which it does for good."""
    owner = select(models.ExchangeApiKey.client_id).where(models.ExchangeApiKey.id == key_id)
    statement = _visible(caller).where(_table.id == owner.scalar_subquery()).with_for_update(of=_table)
    row = (await connection.execute(statement)).one_or_none()
    return _record(row) if row else None


async def lock_for_keys(connection: AsyncConnection, client_id: UUID) -> None:
    """The same, on nobody's behalf."""
    await connection.execute(select(_table.id).where(_table.id == client_id).with_for_update())


async def page(
    connection: Executor, caller: Caller, *, show_deleted: bool, after: Position | None, size: int
) -> Page[Client]:
    query = select(*_columns).where(visible(_table.id, limited=caller.limited)).params(parameters(caller))
    if not show_deleted:
        query = query.where(~_table.is_deleted)
    return await fetch_page(
        connection, query, (_table.created_at, _table.id), _record, after=after, size=size
    )


async def change(connection: AsyncConnection, client_id: UUID, values: dict[str, str | None]) -> Client:
    statement = update(_table).where(_table.id == client_id).values(**values).returning(*_columns)
    return _record((await connection.execute(statement)).one())


async def delete(connection: AsyncConnection, client_id: UUID) -> Client:
    statement = (
        update(_table)
        .where(_table.id == client_id)
        .values(is_deleted=True, deleted_at=func.now())
        .returning(*_columns)
    )
    return _record((await connection.execute(statement)).one())


async def undelete(connection: AsyncConnection, client_id: UUID) -> Client:
    statement = (
        update(_table)
        .where(_table.id == client_id)
        .values(is_deleted=False, deleted_at=None)
        .returning(*_columns)
    )
    return _record((await connection.execute(statement)).one())


def _by_id(client_id: UUID, caller: Caller) -> Select[*tuple[Any, ...]]:
    return _visible(caller).where(_table.id == client_id)


def _visible(caller: Caller) -> Select[*tuple[Any, ...]]:
    mine = visible(_table.id, limited=caller.limited)
    return select(*_columns).where(mine).params(parameters(caller))
