"""The table of API keys where many of them become due at once: a bridge restarted or is back, or somebody asks for it.

The statements for many rows skip those that somebody holds. So none of them is ever part of a deadlock, and whoever
holds a row is about to decide it, or leaves it as it was for the next turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, and_, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.enums import BridgeReason
from keyservice.records import ApiKey, Caller
from keyservice.store import scope
from keyservice.store.api_keys import COLUMNS, is_one_of, record
from keyservice.store.bridge_states import AFRESH, CLOCK, CONFIGURED, UNCHANGED, UNDER_WAY, WAITS, WANTED
from keyservice.store.leases import due
from servicekit.database.reads import Executor

_table = models.ExchangeApiKey
MOST_RUNS: Final = 16
_BRIDGE_AWAY = (BridgeReason.BRIDGE_UNAVAILABLE, BridgeReason.BRIDGE_TIMEOUT)


def _written(limit: int) -> BindParameter[int]:
    """Into the statement: to a plan that does not know it, it would be a tenth of all rows, and worth reading all."""
    return literal(limit, literal_execute=True)


@dataclass(frozen=True, slots=True)
class Example:
    """One key of all that a run of the bridge has acknowledged."""

    client_id: UUID
    instance_id: str


@dataclass(frozen=True, slots=True)
class Selected:
    """What a filter has selected to be due."""

    made_due: list[UUID]
    held: list[UUID]
    """By somebody just then, or changed by him, so that they are as he left them."""


async def example_of_each_run(connection: Executor, *, besides: str, after: str = "") -> list[Example]:
    """One key of each run of the bridge but one, and of at most ``MOST_RUNS``: of the next ones after a name."""
    holder = _table.configured_instance
    examples: list[Example] = []
    # Not DISTINCT: from one run to the next the index is entered anew, and what lies between is not read.
    while len(examples) < MOST_RUNS:
        query = select(_table.client_id, holder).where(CONFIGURED, holder > after).order_by(holder).limit(1)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            break
        example = Example(*row)
        after = example.instance_id
        if after != besides:
            examples.append(example)
    return examples


async def suspect(connection: AsyncConnection, *, instance_id: str, limit: int) -> int:
    """Make rows due that a run of the bridge has acknowledged; says how many it were."""
    gone = (
        select(_table.id)
        .where(CONFIGURED, _table.configured_instance == instance_id)
        .limit(_written(limit))
        .with_for_update(skip_locked=True)
        .cte("gone")
    )
    statement = update(_table).where(_table.id == gone.c.id).values(AFRESH | UNCHANGED)
    return (await connection.execute(statement)).rowcount


async def clock(connection: Executor) -> datetime:
    """What time it is by the clock that attempts are dated by."""
    now: datetime = (await connection.execute(select(CLOCK))).scalar_one()
    return now


async def hurry(connection: AsyncConnection, *, tried_before: datetime, limit: int) -> int:
    """Make rows due that wait only because the bridge was away when they were tried last, which was before a time;
    says how many it were.
    """
    waiting = (
        select(_table.id)
        .where(
            WAITS,
            _table.bridge_reason.in_(_BRIDGE_AWAY),
            _table.last_attempt_at < tried_before,
            _table.next_attempt_at > CLOCK,
        )
        .limit(_written(limit))
        .with_for_update(skip_locked=True)
        .cte("waiting")
    )
    statement = update(_table).where(_table.id == waiting.c.id)
    statement = statement.values(due() | UNCHANGED)
    return (await connection.execute(statement)).rowcount


async def make_due(
    connection: AsyncConnection,
    caller: Caller,
    *,
    client_id: UUID | None,
    exchange: str | None,
    only_unconfigured: bool,
) -> Selected:
    """Make the keys that a filter selects due, but for those that somebody holds.

    What is under way is left to whoever is at work on it, but counts as the first attempt from now on.
    """
    wanted = [WANTED, scope.visible(_table.client_id, limited=caller.limited)]
    if client_id is not None:
        wanted.append(_table.client_id == client_id)
    if exchange is not None:
        wanted.append(_table.exchange == exchange)
    if only_unconfigured:
        wanted.append(~CONFIGURED)
    return await _make_due(connection, and_(*wanted), scope.parameters(caller))


async def make_held_due(
    connection: AsyncConnection, ids: Sequence[UUID], *, since: datetime, only_unconfigured: bool
) -> Selected:
    """The same later for keys that somebody held, but for those that have been tried ``since`` they were selected."""
    tried_since = func.greatest(_table.configured_at, _table.last_attempt_at) >= since
    wanted = [is_one_of(ids), WANTED, or_(UNDER_WAY, tried_since.is_not(True))]
    if only_unconfigured:
        wanted.append(~CONFIGURED)
    return await _make_due(connection, and_(*wanted), {})


async def tried(connection: Executor, ids: Sequence[UUID]) -> list[ApiKey]:
    """Those of the keys, made due before, about which the bridge has been asked since, or need not be any more."""
    untried = and_(WAITS, _table.bridge_reason.is_(None), _table.attempt_count <= 1)
    statement = select(*COLUMNS).where(is_one_of(ids), or_(~untried, ~WANTED))
    return [record(row) for row in await connection.execute(statement)]


async def _make_due(
    connection: AsyncConnection, wanted: ColumnElement[bool], parameters: Mapping[str, Any]
) -> Selected:
    """What is said of ``wanted`` rows is asked again of each that is got hold of: it may have changed just then."""
    selected = select(_table.id).where(wanted).cte("selected")
    ours = select(_table.id).where(_table.id.in_(select(selected.c.id)), wanted)
    ours = ours.with_for_update(skip_locked=True)
    free = ours.where(~UNDER_WAY).cte("free")
    made = update(_table).where(_table.id == free.c.id).values(AFRESH | UNCHANGED)
    begun = ours.where(UNDER_WAY).cte("begun")
    counted = update(_table).where(_table.id == begun.c.id).values({"attempt_count": 1} | UNCHANGED)
    changed = [
        select(each.c.id)
        for each in (made.returning(_table.id).cte("made"), counted.returning(_table.id).cte("counted"))
    ]
    made_due = or_(*(selected.c.id.in_(each) for each in changed))
    rows = (await connection.execute(select(selected.c.id, made_due.label("made_due")), parameters)).all()
    return Selected([row.id for row in rows if row.made_due], [row.id for row in rows if not row.made_due])
