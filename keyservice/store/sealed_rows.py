"""The table of API keys as re-sealing sees it: sealed columns by the batch, and their exchange for others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import BigInteger, TableValuedAlias, Text, Uuid, column, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.credentials import FIELDS

_table = models.ExchangeApiKey
_sealed = tuple(getattr(_table, name) for name in FIELDS)


@dataclass(frozen=True, slots=True)
class SealedRow:
    """What is sealed of one API key, and the place that it is sealed for."""

    id: UUID
    client_id: UUID
    secret_version: int
    sealed: Mapping[str, str | None] = field(repr=False)
    """By column."""


async def batch(
    connection: AsyncConnection, key_id: str, *, after: UUID | None, size: int
) -> list[SealedRow]:
    """The next rows, by id, that a master key has sealed: deleted ones too, which an undelete brings back."""
    statement = (
        select(_table.id, _table.client_id, _table.secret_version, *_sealed)
        .where(_table.key_id == key_id)
        .order_by(_table.id)
        .limit(size)
    )
    if after is not None:
        statement = statement.where(_table.id > after)
    rows = await connection.execute(statement)
    return [
        SealedRow(row_id, client_id, secret_version, dict(zip(FIELDS, sealed, strict=True)))
        for row_id, client_id, secret_version, *sealed in rows
    ]


async def swap(
    connection: AsyncConnection, rows: Sequence[SealedRow], *, old_key_id: str, new_key_id: str
) -> set[UUID]:
    """Put new seals in the place of the old ones, where those are what they were; says in which rows.

    A row was left alone if its secrets were replaced or erased since, or if someone else was faster. Rows
    that somebody holds are skipped and not waited for: so this is never part of a deadlock.

    Only the seals change: whoever compares revisions or times of change sees that nothing has.
    """
    given = _as_table(rows)
    matching = (
        select(_table.id)
        .join(given, _table.id == given.c.id)
        .where(_table.key_id == old_key_id, _table.secret_version == given.c.secret_version)
        .with_for_update(of=_table, skip_locked=True)
        .cte("matching")
    )
    statement = (
        update(_table)
        .where(_table.id == matching.c.id, _table.id == given.c.id)
        .values({name: given.c[name] for name in FIELDS} | {"key_id": new_key_id})
        .values(updated_at=_table.updated_at)
        .returning(_table.id)
    )
    return set((await connection.execute(statement)).scalars())


def _as_table(rows: Sequence[SealedRow]) -> TableValuedAlias:
    """The rows as a table made of arrays: the same text of the statement, however many rows there are."""
    arrays = [
        literal([row.id for row in rows], ARRAY(Uuid)),
        literal([row.secret_version for row in rows], ARRAY(BigInteger)),
        *(literal([row.sealed.get(name) for row in rows], ARRAY(Text)) for name in FIELDS),
    ]
    columns = [
        column("id", Uuid),
        column("secret_version", BigInteger),
        *(column(name, Text) for name in FIELDS),
    ]
    return func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
