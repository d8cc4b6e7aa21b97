"""The record of who did what: rows are inserted in the transaction of what they tell of, and never changed."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Insert,
    Row,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from keyservice import models
from keyservice.records import ApiKey, AuditEvent, Caller
from keyservice.store.scope import parameters, visible
from servicekit.database.pages import Within, fetch_page
from servicekit.database.reads import Executor
from servicekit.paging import Page, Position

HOUSEKEEPING: Final = "housekeeping"
"""On whose behalf it is that something happens because it is time."""
RELEASE: Final = "ReleaseCredentials"
"""That a key's credentials go to the bridge. It is on record before they are sent, with the claim to send them."""

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
_keys = models.ExchangeApiKey.__table__
# Who it was that a larger statement tells of.
_NAME = bindparam("caller_name", type_=_table.principal.type)
_REQUEST_ID = bindparam("caller_request_id", type_=_table.request_id.type)


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


async def record_releases(connection: AsyncConnection, caller: Caller, keys: Sequence[ApiKey]) -> None:
    """That the credentials of keys which the unit of work has claimed go to the bridge, if they belong there and have
    any.
    """
    ids = literal([key.id for key in keys], ARRAY(Uuid))
    await connection.execute(_insert_each(_release(_keys.c).where(_keys.c.id == any_(ids))), by(caller))


def release(claimed: CTE) -> CTE:
    """The same inside a larger statement, for each key of ``claimed``; ``by`` has the parameters."""
    return _insert_each(_release(claimed.c)).cte("releases")


def addition(added: CTE, key_id: ColumnElement[Any], *, releases: ColumnElement[bool]) -> CTE:
    """Inside the statement that adds a key: that it was added, and that its credentials go to the bridge, if so."""
    told = [
        (literal("AddApiKey"), literal_column("'{}'::jsonb", JSONB), true()),
        (literal(RELEASE), _revision(added.c), and_(key_id.is_not(None), releases)),
    ]
    rows = [
        select(_NAME, action, _REQUEST_ID, added.c.client_id, added.c.id, details).where(so)
        for action, details, so in told
    ]
    return _insert_each(union_all(*rows)).cte("events")


def by(caller: Caller) -> dict[str, str]:
    """Who it was, as parameters of a statement with ``release`` or ``addition`` in it."""
    return {_NAME.key: caller.name, _REQUEST_ID.key: caller.request_id}


def _release(key: ReadOnlyColumnCollection[str, ColumnElement[Any]]) -> Select[*tuple[Any, ...]]:
    goes = and_(key.deleted_at.is_(None), ~key.disabled, key.key_id.is_not(None))
    return select(_NAME, literal(RELEASE), _REQUEST_ID, key.client_id, key.id, _revision(key)).where(goes)


def _revision(key: ReadOnlyColumnCollection[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    return func.jsonb_build_object(literal_column("'revision'"), key.revision)


def _insert_each(rows: Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]) -> Insert:
    columns = [
        _table.principal,
        _table.action,
        _table.request_id,
        _table.client_id,
        _table.api_key_id,
        _table.details,
    ]
    # Defaults are left to the table: those of two tables in one statement would be bound under one name.
    return _insert.from_select(columns, rows, include_defaults=False)


async def page(
    connection: Executor, caller: Caller, *, client_id: UUID | None, after: Position | None, size: int
) -> Page[AuditEvent]:
    """The newest first."""
    mine = visible(_table.client_id, limited=caller.limited)
    query = select(*_columns).where(mine).params(parameters(caller))
    within: list[Within] = [] if client_id is None else [(_table.client_id, client_id)]
    keyset = (_table.created_at, _table.id)
    return await fetch_page(
        connection, query, keyset, _record, after=after, size=size, newest_first=True, within=within
    )


def _record(row: Row[*tuple[Any, ...]]) -> AuditEvent:
    return AuditEvent(*row)
