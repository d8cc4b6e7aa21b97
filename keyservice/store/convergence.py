"""The table of API keys as convergence sees it: who may take which revision to the bridge, and what came of it.

What is written of many keys at once skips rows that somebody holds, so that it is never part of a deadlock, and so
that nobody waits for what is not his; those are then written one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Interval,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from keyservice import models
from keyservice.bridge_records import Permissions
from keyservice.enums import BridgeReason, BridgeState
from keyservice.records import ApiKey, Caller
from keyservice.store import audit
from keyservice.store.api_keys import COLUMNS, claimed_record, record
from keyservice.store.bridge_states import AFRESH, CLAIMED, CLOCK, UNCHANGED, UNDER_WAY, WANTED
from keyservice.store.leases import taken
from keyservice.store.seals import SEALED, Claimed

_table = models.ExchangeApiKey


@dataclass(frozen=True, slots=True)
class Result:
    """What came of taking a revision to the bridge."""

    key: ApiKey
    """As it was claimed."""
    state: BridgeState
    reason: BridgeReason | None = None
    instance_id: str | None = None
    """The run of the bridge that holds it now."""
    again_in: timedelta | None = None
    asked: bool = True
    """Whether it was an attempt at all."""

    @property
    def acknowledged(self) -> bool:
        return self.state in (BridgeState.CONFIGURED, BridgeState.REMOVED)


async def claim(
    connection: AsyncConnection,
    caller: Caller,
    key_id: UUID,
    *,
    lease: timedelta,
    releases: bool,
    revision: int | None = None,
) -> Claimed | None:
    """One row whatever it waits for, unless it is under way or has another revision by now; with the same record."""
    statement = (
        update(_table).where(_table.id == key_id, ~UNDER_WAY).values(AFRESH | taken(lease) | UNCHANGED)
    )
    statement = statement.values(bridge_state=case((WANTED, BridgeState.PENDING), else_=BridgeState.REMOVING))
    if revision is not None:
        statement = statement.where(_table.revision == revision)
    claimed = statement.returning(*COLUMNS, *SEALED).cte("claimed")
    query = select(claimed).add_cte(audit.release(claimed)) if releases else select(claimed)
    row = (await connection.execute(query, audit.by(caller))).one_or_none()
    return claimed_record(row) if row else None


async def prolong(
    connection: AsyncConnection, claims: Sequence[tuple[UUID, datetime | None]], *, lease: timedelta
) -> None:
    """Move on the end of claims, by key and time, under which somebody is still at work."""
    given = (
        func.unnest(
            literal([key_id for key_id, _ in claims], ARRAY(Uuid)),
            literal([at for _, at in claims], ARRAY(TIMESTAMP(timezone=True))),
        )
        .table_valued(column("id", Uuid), column("at", TIMESTAMP(timezone=True)), name="given")
        .render_derived()
    )
    held = (
        select(_table.id)
        .join(given, and_(_table.id == given.c.id, _table.last_attempt_at == given.c.at))
        .where(CLAIMED)
        .with_for_update(of=_table, skip_locked=True)
        .cte("held")
    )
    statement = update(_table).where(_table.id == held.c.id)
    await connection.execute(statement.values(next_attempt_at=CLOCK + literal(lease, Interval), **UNCHANGED))


async def write(connection: AsyncConnection, results: Sequence[Result], *, skips: bool) -> dict[UUID, ApiKey]:
    """Put the outcomes into the rows that still have the revision they are of; says how those are now.

    It ``skips`` rows that somebody holds, or waits for them. A refusal counts only for whoever holds the claim, an
    acknowledgement for anybody: the bridge has the key.
    """
    parameters = {
        "ids": [result.key.id for result in results],
        "revisions": [result.key.revision for result in results],
        "claims": [result.key.last_attempt_at for result in results],
        "states": [result.state.value for result in results],
        "reasons": [result.reason.value if result.reason else None for result in results],
        "instances": [result.instance_id for result in results],
        "pauses": [result.again_in for result in results],
        "asked": [result.asked for result in results],
    }
    rows = await connection.execute(_writing(skips=skips), parameters)
    return {key.id: key for key in map(record, rows)}


async def keep_permissions(
    connection: AsyncConnection, key: ApiKey, permissions: Permissions
) -> ApiKey | None:
    """Store what an exchange said of the secrets that a key has here; None if it has others by now."""
    statement = (
        update(_table)
        .where(_table.id == key.id, _table.secret_version == key.secret_version)
        .values(
            can_read=permissions.read,
            can_trade=permissions.trade,
            can_withdraw=permissions.withdraw,
            verified_at=CLOCK,
            **UNCHANGED,
        )
        .returning(*COLUMNS)
    )
    row = (await connection.execute(statement)).one_or_none()
    return record(row) if row else None


# Made once, as those of the other hot paths.
@cache
def _writing(*, skips: bool) -> Update:
    kinds: dict[str, TypeEngine[Any]] = {
        "ids": Uuid(),
        "revisions": BigInteger(),
        "claims": TIMESTAMP(timezone=True),
        "states": Text(),
        "reasons": Text(),
        "instances": Text(),
        "pauses": Interval(),
        "asked": Boolean(),
    }
    arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in kinds.items()]
    columns = [column(name, kind) for name, kind in kinds.items()]
    given = func.unnest(*arrays).table_valued(*columns, name="given").render_derived().c
    acknowledged = given.states.in_([BridgeState.CONFIGURED.value, BridgeState.REMOVED.value])
    matching = (
        select(_table.id.label("id"), *(given[name].label(name) for name in kinds if name != "ids"))
        .where(
            _table.id == given.ids,
            _table.revision == given.revisions,
            or_(acknowledged, and_(CLAIMED, _table.last_attempt_at == given.claims)),
        )
        .with_for_update(of=_table, skip_locked=skips)
        .cte("matching")
    )
    done = matching.c.states.in_([BridgeState.CONFIGURED.value, BridgeState.REMOVED.value])
    configured = matching.c.states == BridgeState.CONFIGURED.value
    return (
        update(_table)
        .where(_table.id == matching.c.id)
        .values(
            bridge_state=cast(matching.c.states, _table.bridge_state.type),
            bridge_reason=cast(matching.c.reasons, _table.bridge_reason.type),
            next_attempt_at=CLOCK + matching.c.pauses,
            attempt_count=case(
                (done, 0), (matching.c.asked, _table.attempt_count), else_=_table.attempt_count - 1
            ),
            configured_at=case((configured, CLOCK)),
            configured_instance=case((configured, matching.c.instances)),
            **UNCHANGED,
        )
        .returning(*COLUMNS)
    )
