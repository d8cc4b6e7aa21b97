"""The audit record as an adoption's report: what migration did to old rows, and adoption to secrets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models

MIGRATION: Final = "migration"
ADOPTION: Final = "adoption"

BEGIN: Final = "BeginAdoption"
ADOPT: Final = "AdoptApiKey"
SUPERSEDE: Final = "SupersedeApiKey"
POSTPONE: Final = "PostponeErasure"
UNREADABLE: Final = "KEY_UNREADABLE"
ROUTINE: Final = ("TakeOverClient", "TakeOverApiKey", ADOPT, BEGIN, POSTPONE)
"""Actions that are counted, and not told one by one."""

_table = models.AuditEvent


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done on the way from an old database to this one."""

    action: str
    client_id: UUID | None = None
    api_key_id: UUID | None = None
    outcome: str = "OK"
    details: dict[str, Any] = field(default_factory=dict)  # Any: JSON
    principal: str = ADOPTION


async def record(connection: AsyncConnection, events: Sequence[Event]) -> None:
    if not events:
        return
    values = [
        {
            "principal": event.principal,
            "action": event.action,
            "client_id": event.client_id,
            "api_key_id": event.api_key_id,
            "outcome": event.outcome,
            "details": event.details,
        }
        for event in events
    ]
    await connection.execute(insert(_table), values)


async def begun(connection: AsyncConnection, old_key_id: str) -> bool:
    """Whether an old key has proved before that it is one."""
    statement = select(_table.id).where(
        _table.principal == ADOPTION, _table.action == BEGIN, _table.details["old_key"].astext == old_key_id
    )
    return (await connection.execute(statement.limit(1))).first() is not None


async def counts(connection: AsyncConnection) -> dict[str, int]:
    """How often each action came to a good end."""
    statement = (
        select(_table.action, func.count().label("number"))
        .where(_table.principal.in_((MIGRATION, ADOPTION)), _table.outcome == "OK")
        .group_by(_table.action)
    )
    return {row.action: row.number for row in await connection.execute(statement)}


async def notable(connection: AsyncConnection) -> list[Event]:
    """What is told one by one, in its order; of what was tried again, the last."""
    told_apart = (
        _table.principal,
        _table.action,
        _table.client_id,
        _table.api_key_id,
        _table.details["table"],
    )
    latest = (
        select(_table)
        .where(_table.principal.in_((MIGRATION, ADOPTION)))
        .ext(distinct_on(*told_apart))
        .order_by(*told_apart, _table.position.desc())
        .subquery()
    )
    statement = (
        select(
            latest.c.action,
            latest.c.client_id,
            latest.c.api_key_id,
            latest.c.outcome,
            latest.c.details,
            latest.c.principal,
        )
        .where(
            or_(
                latest.c.action.not_in(ROUTINE),
                latest.c.outcome != "OK",
                latest.c.details.has_key("white_space"),
            )
        )
        .order_by(latest.c.position)
    )
    return [Event(*row) for row in await connection.execute(statement)]


async def reported_unreadable(connection: AsyncConnection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of some keys the record has as unreadable already."""
    statement = select(_table.api_key_id).where(
        _table.principal == ADOPTION, _table.outcome == UNREADABLE, _table.api_key_id.in_(ids)
    )
    return {key_id for key_id in (await connection.execute(statement)).scalars() if key_id is not None}
