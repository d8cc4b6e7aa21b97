"""Request ids: which were used, for what, and with which result.

The primary key decides who is first. Whoever comes second waits for the first one's commit and then finds its result;
if the first rolls back, the second goes ahead in its place.
"""

from dataclasses import dataclass
from datetime import timedelta
from hmac import compare_digest
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Delete, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from servicekit.errors import AlreadyExists

_table = models.Request
_CLAIMED = ("principal", "method", "request_id", "body_hmac")


@dataclass(frozen=True, slots=True)
class Claim:
    """A request id that a caller gave, and the body that came with it, as an HMAC."""

    principal: str
    method: str
    request_id: UUID
    body_hmac: bytes


async def take(connection: AsyncConnection, claim: Claim, result_id: UUID) -> UUID | None:
    """None when the claim is new, and now stands for ``result_id``; the first one's result when it is not."""
    taken = await connection.execute(
        insert(_table)
        .values(
            principal=claim.principal,
            method=claim.method,
            request_id=claim.request_id,
            body_hmac=claim.body_hmac,
            result_id=result_id,
        )
        .on_conflict_do_nothing()
        .returning(_table.result_id)
    )
    return None if taken.scalar_one_or_none() else await first_result(connection, claim)


async def first_result(connection: AsyncConnection, claim: Claim) -> UUID | None:
    """What a claim that was taken before came to, if it was; refuses another body under the same id."""
    statement = select(_table.result_id, _table.body_hmac).where(
        _table.principal == claim.principal,
        _table.method == claim.method,
        _table.request_id == claim.request_id,
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if not compare_digest(row.body_hmac, claim.body_hmac):
        raise AlreadyExists(
            "This request_id was used for another request before; use a new one for each request.",
            reason="REQUEST_ID_REUSED",
        )
    result: UUID = row.result_id
    return result


def taken_from(source: CTE, result_id: ColumnElement[UUID]) -> CTE:
    """The same as ``take`` inside a larger statement: a row for ``source``'s one row, none for a repetition.

    Whose claim it is are the statement's ``parameters``.
    """
    given = [bindparam(f"claim_{name}", type_=getattr(_table, name).type) for name in _CLAIMED]
    return (
        insert(_table)
        # Two tables' defaults in one statement would be bound under one name; the table has the same ones.
        .from_select(
            [*_CLAIMED, "result_id"], select(*given, result_id).select_from(source), include_defaults=False
        )
        .on_conflict_do_nothing()
        .returning(_table.result_id)
        .cte("taken")
    )


def parameters(claim: Claim) -> dict[str, Any]:
    """The claim, as parameters of a statement with ``taken_from`` in it."""
    return {f"claim_{name}": getattr(claim, name) for name in _CLAIMED}


def forget(older_than: timedelta) -> Delete:
    return delete(_table).where(_table.created_at < func.now() - older_than)
