"""The table of API keys as the loop sees it: who may take what is due to the bridge.

However many rows are due that can't be sent just now, a claim reads a few of them only. Where nobody is there, an index
leads to what may be claimed all the same. Where the bridge is away for some clients, no index can know whose rows are
to be passed over, so one claim looks at a stretch of what is due, and the next one at the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Interval,
    Select,
    Uuid,
    bindparam,
    case,
    func,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.records import Caller
from keyservice.store import audit
from keyservice.store.api_keys import COLUMNS, claimed_record
from keyservice.store.bridge_states import CLAIMED, UNCHANGED, WAITS
from keyservice.store.leases import taken
from keyservice.store.seals import SEALED, Claimed

_table = models.ExchangeApiKey
CONVERGENCE: Final = Caller("convergence")
"""On whose behalf it is that keys go to the bridge for which nobody waits."""
BEGINNING: Final = datetime.fromtimestamp(0, UTC)
"""Before everything that is due."""
_STRETCH: Final = 5000
"""How many rows one claim looks at: a few milliseconds' work, and at two claims a second all of 200,000 in 20 s."""
_MOST = bindparam("most", type_=BigInteger)
_DUE = (WAITS, _table.next_attempt_at <= func.now())


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was claimed of a stretch of what is due, and where the next one begins."""

    claimed: list[Claimed]
    next: datetime


async def claim_due(
    connection: AsyncConnection, *, limit: int, lease: timedelta, releases: bool, afresh: bool = False
) -> list[Claimed]:
    """At most ``limit`` rows that are due, those first that have waited longest; nobody else gets them meanwhile.

    That their credentials go to the bridge is on record with it, if the claim ``releases`` them. Otherwise they must
    not go. Those ``afresh`` alone are those of which nothing is known yet.
    """
    values = {"most": limit, "lease": lease} | audit.by(CONVERGENCE)
    rows = await connection.execute(_claim(releases=releases, afresh=afresh), values)
    return [claimed_record(row) for row in rows]


async def claim_stretch(
    connection: AsyncConnection, *, limit: int, lease: timedelta, away_for: Sequence[UUID], after: datetime
) -> Stretch:
    """The same where the bridge is ``away_for`` some clients: their rows are left to whom they can be sent by, but for
    those of which nothing is known yet. It releases nothing.

    Of the others it finds those only that lie in the stretch ``after`` a time. What was not claimed of it although it
    could be sent is in the next one.
    """
    until = (await connection.execute(_end_of_stretch(_STRETCH), {"after": after})).scalar_one_or_none()
    values = {"most": limit, "lease": lease, "away_for": list(away_for), "after": after, "until": until}
    claimed = [claimed_record(row) for row in await connection.execute(_claim_of_stretch(), values)]
    if len(claimed) == limit:
        return Stretch(claimed, after)
    return Stretch(claimed, until or BEGINNING)


# Made once, as those of the other hot paths.


@cache
def _claim(*, releases: bool, afresh: bool) -> Select[*tuple[Any, ...]]:
    query = select(_table.id).where(*_DUE)
    if afresh:
        query = query.where(_table.bridge_reason.is_(None))
    claimed = _claimed(_first(query).cte("waiting"))
    return select(claimed).add_cte(audit.release(claimed)) if releases else select(claimed)


@cache
def _end_of_stretch(size: int) -> Select[datetime | None]:
    """NULL, or no row, where what is due ends before it."""
    time = _table.next_attempt_at
    # That it is due is no condition here: between two times that a plan does not know, it would expect few rows, and
    # so read all of them to sort them.
    query = select(case((time <= func.now(), time)))
    query = query.where(WAITS, time > bindparam("after", type_=TIMESTAMP(timezone=True))).order_by(time)
    rest, one = (literal(count, literal_execute=True) for count in (size - 1, 1))
    return query.offset(rest).limit(one)


@cache
def _claim_of_stretch() -> Select[*tuple[Any, ...]]:
    times = {name: bindparam(name, type_=TIMESTAMP(timezone=True)) for name in ("after", "until")}
    # Not by comparison with an array: a plan that does not know it would compare each row with all of it.
    away_for = select(func.unnest(bindparam("away_for", type_=ARRAY(Uuid))))
    columns = (_table.id, _table.next_attempt_at)
    afresh = select(*columns).where(*_DUE, _table.bridge_reason.is_(None))
    others = select(*columns).where(
        *_DUE,
        _table.next_attempt_at > times["after"],
        _table.next_attempt_at <= func.coalesce(times["until"], func.now()),
        _table.bridge_reason.is_not(None),
        _table.client_id.not_in(away_for),
    )
    # By their time, so that neither kind keeps the other waiting for as long as more of it comes.
    found = union_all(select(_first(afresh).cte("afresh")), select(_first(others).cte("others"))).subquery()
    waiting = select(found.c.id).order_by(found.c.next_attempt_at).limit(_MOST).cte("waiting")
    return select(_claimed(waiting))


def _first(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Those of them that have waited longest, kept from everybody else."""
    return query.order_by(_table.next_attempt_at).limit(_MOST).with_for_update(skip_locked=True)


def _claimed(waiting: CTE) -> CTE:
    # Who takes over from somebody who has died makes the same attempt, and not another one.
    attempt = case((CLAIMED, _table.attempt_count), else_=_table.attempt_count + 1)
    values = taken(bindparam("lease", type_=Interval)) | UNCHANGED
    return (
        update(_table)
        .where(_table.id == waiting.c.id)
        .values(values | {"bridge_reason": None, "attempt_count": attempt})
        .returning(*COLUMNS, *SEALED)
        .cte("claimed")
    )
