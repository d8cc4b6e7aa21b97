"""Lists of API keys: the filters that exist, each with an index of its own."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select

from keyservice import models
from keyservice.enums import BridgeState
from keyservice.records import ApiKey, Caller
from keyservice.store import scope
from keyservice.store.api_keys import COLUMNS, record
from servicekit.database.pages import Within, fetch_page
from servicekit.database.reads import Executor
from servicekit.paging import Page, Position

_table = models.ExchangeApiKey


@dataclass(frozen=True, slots=True)
class Filter:
    """Which keys a list is of."""

    client_id: UUID | None = None
    exchange: str | None = None
    state: BridgeState | None = None
    show_deleted: bool = False


async def page(
    connection: Executor, caller: Caller, wanted: Filter, *, after: Position | None, size: int
) -> Page[ApiKey]:
    mine = scope.visible(_table.client_id, limited=caller.limited)
    query = select(*COLUMNS).where(mine).params(scope.parameters(caller))
    if not wanted.show_deleted:
        query = query.where(~_table.is_deleted)
    filters: list[Within] = [
        (column, value)
        for column, value in (
            (_table.client_id, wanted.client_id),
            (_table.bridge_state, wanted.state),
            (_table.exchange, wanted.exchange),
        )
        if value is not None
    ]
    # The first is the one that leaves the fewest rows, mostly.
    for column, value in filters[1:]:
        query = query.where(column == value)
    within = filters[:1]
    keyset = (_table.created_at, _table.id)
    return await fetch_page(connection, query, keyset, record, after=after, size=size, within=within)


async def in_use(connection: Executor, caller: Caller, client_id: UUID, exchange: str | None) -> list[ApiKey]:
    """All keys of a client that are live and enabled, the oldest first."""
    query = select(*COLUMNS).where(
        _table.client_id == client_id,
        ~_table.is_deleted,
        ~_table.disabled,
        scope.visible(_table.client_id, limited=caller.limited),
    )
    if exchange is not None:
        query = query.where(_table.exchange == exchange)
    query = query.order_by(_table.created_at, _table.id)
    rows = await connection.execute(query, scope.parameters(caller))
    return [record(row) for row in rows]


async def count_by_state(connection: Executor, caller: Caller) -> dict[BridgeState, int]:
    """How many keys are in each state, but for those that the bridge is rid of; a state without keys is not there."""
    query = (
        select(_table.bridge_state, func.count())
        .where(
            _table.bridge_state != BridgeState.REMOVED,
            scope.visible(_table.client_id, limited=caller.limited),
        )
        .group_by(_table.bridge_state)
    )
    rows = await connection.execute(query, scope.parameters(caller))
    return {row[0]: row[1] for row in rows}
