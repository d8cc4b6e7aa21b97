"""Lists of API keys: the filters that exist, each with an index of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select

from keyservice import models
from keyservice.enums import BridgeState
from keyservice.records import ApiKey, Caller
from keyservice.store import scope
from keyservice.store.api_keys import COLUMNS, is_one_of, record
from keyservice.store.bridge_states import CONFIGURED, WAITS
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


@dataclass(frozen=True, slots=True)
class Counts:
    """How many keys the bridge holds, or is to be told of, or is never told of again unless somebody acts."""

    configured: int
    waiting: int
    failed: int


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


async def named(connection: Executor, caller: Caller, ids: Sequence[UUID]) -> list[ApiKey]:
    """The keys with these ids, deleted or not, in no order."""
    query = select(*COLUMNS).where(is_one_of(ids), scope.visible(_table.client_id, limited=caller.limited))
    return [record(row) for row in await connection.execute(query, scope.parameters(caller))]


async def count(connection: Executor, caller: Caller) -> Counts:
    """How many keys are how far; each number by the index that has just these rows, and not all rows at once."""
    mine = scope.visible(_table.client_id, limited=caller.limited)
    states = (CONFIGURED, WAITS, _table.bridge_state == BridgeState.FAILED)
    numbers = [
        select(func.count()).select_from(_table).where(state, mine).scalar_subquery() for state in states
    ]
    row = (await connection.execute(select(*numbers), scope.parameters(caller))).one()
    return Counts(*row)
