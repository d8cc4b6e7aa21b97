"""The record of who did what: rows are inserted in the transaction of what they tell of, and never changed."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CTE, Row, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from keyservice import models
from keyservice.records import AuditEvent, Caller, Page, Position
from keyservice.store.pages import Within, fetch_page
from keyservice.store.scope import parameters, visible
from servicekit.database.reads import Executor

HOUSEKEEPING: Final = "housekeeping"
"""On whose behalf it is that something happens because it is time."""

_table = models.AuditEvent
_columns: tuple[InstrumentedAttribute[Any], ...] = (
    _table.id,
    _table.created_at,
    _table.principal,
    _table.action,
    _table.client_id,
    _table.api_key_id,
    _table.request_id,
    _table.outcome,
)
_insert = insert(_table)


async def record(
    connection: AsyncConnection,
    caller: Caller,
    action: str,
    *,
    client_id: UUID | None = None,
    api_key_id: UUID | None = None,
) -> None:
    """One event, which is there if and only if what it tells of is."""
    await connection.execute(
        _insert.values(
            principal=caller.name,
            action=action,
            client_id=client_id,
            api_key_id=api_key_id,
            request_id=caller.request_id,
        )
    )


async def record_each(
    connection: AsyncConnection, caller: Caller, action: str, client_id: UUID, api_key_ids: Sequence[UUID]
) -> None:
    """One event for each key that an action on its client changed, all in one statement."""
    if api_key_ids:
        common = {
            "principal": caller.name,
            "action": action,
            "client_id": client_id,
            "request_id": caller.request_id,
        }
        await connection.execute(_insert, [common | {"api_key_id": each} for each in api_key_ids])


def housekeeping(done: CTE, action: str) -> CTE:
    """The same inside a larger statement, for what time did to each key of ``done`` (``id``, ``client_id``)."""
    row = select(literal(HOUSEKEEPING), literal(action), done.c.client_id, done.c.id)
    columns = [_table.principal, _table.action, _table.client_id, _table.api_key_id]
    return insert(_table).from_select(columns, row, include_defaults=False).cte("events")


async def page(
    connection: Executor, caller: Caller, *, client_id: UUID | None, after: Position | None, size: int
) -> Page[AuditEvent]:
    """The newest first."""
    mine = visible(_table.client_id, limited=caller.limited)
    query = select(*_columns).where(mine).params(parameters(caller))
    within: Within | None = None if client_id is None else (_table.client_id, client_id)
    keyset = (_table.created_at, _table.id)
    return await fetch_page(
        connection, query, keyset, _record, after=after, size=size, newest_first=True, within=within
    )


def _record(row: Row[*tuple[Any, ...]]) -> AuditEvent:
    return AuditEvent(*row)
