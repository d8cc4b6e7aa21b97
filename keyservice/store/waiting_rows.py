"""The table of API keys as adoption sees it: rows that wait with an old database's tokens, and their fate."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    TableValuedAlias,
    Text,
    Uuid,
    and_,
    case,
    column,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.enums import BridgeReason, BridgeState
from keyservice.store.leases import due

TOKENS: Final = ("api_key", "api_secret", "passphrase")
"""The columns that an old database had."""

_table = models.ExchangeApiKey
_tokens = tuple(getattr(_table, name) for name in TOKENS)
# A key that comes back with its client is as good as live: it must not come back as somebody's double.
_live: ColumnElement[bool] = or_(
    ~_table.is_deleted, and_(_table.deleted_with_client, _table.erased_at.is_(None))
)
_wanted: ColumnElement[bool] = and_(~_table.is_deleted, ~_table.disabled)
_waiting: ColumnElement[bool] = and_(_table.key_id.is_(None), or_(*(token.is_not(None) for token in _tokens)))


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """An API key whose secrets are as the old database had them."""

    id: UUID
    client_id: UUID
    exchange: str
    secret_version: int
    created_at: datetime
    live: bool
    """Or deleted only with its client."""
    tokens: Mapping[str, str | None] = field(repr=False)
    """By column."""


@dataclass(frozen=True, slots=True)
class AdoptedRow:
    """A waiting row, and what is to stand in it instead of the old tokens."""

    row: WaitingRow
    key_id: str
    sealed: Mapping[str, str] = field(repr=False)
    key_hint: str
    fingerprint: bytes | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A key, live or deleted only with its client, that has a fingerprint."""

    id: UUID
    client_id: UUID
    fingerprint: bytes
    created_at: datetime


async def lock(connection: AsyncConnection) -> None:
    """Nobody else writes API keys until the unit of work ends: who has which fingerprint stays as found."""
    await connection.execute(text(f"LOCK TABLE {_table.__tablename__} IN SHARE ROW EXCLUSIVE MODE"))


async def count(connection: AsyncConnection) -> int:
    return (await connection.execute(select(func.count()).where(_waiting))).scalar_one()


async def batch(connection: AsyncConnection, *, after: UUID | None, size: int) -> list[WaitingRow]:
    """The next waiting rows, by id; deleted ones too, which an undelete brings back."""
    columns = (_table.id, _table.client_id, _table.exchange, _table.secret_version, _table.created_at)
    statement = select(*columns, _live, *_tokens).where(_waiting).order_by(_table.id).limit(size)
    if after is not None:
        statement = statement.where(_table.id > after)
    rows = await connection.execute(statement)
    return [
        WaitingRow(
            row_id, client_id, exchange, version, created_at, live, dict(zip(TOKENS, tokens, strict=True))
        )
        for row_id, client_id, exchange, version, created_at, live, *tokens in rows
    ]


async def still_waiting(connection: AsyncConnection, rows: Sequence[WaitingRow]) -> set[UUID]:
    """Which of the rows have the very tokens that they were read with."""
    given = _unnest(
        {
            "id": (Uuid, [row.id for row in rows]),
            **{name: (Text, [row.tokens[name] for row in rows]) for name in TOKENS},
        }
    )
    same = [token.is_not_distinct_from(given.c[token.key]) for token in _tokens]
    statement = select(_table.id).join(given, _table.id == given.c.id).where(_waiting, *same)
    return set((await connection.execute(statement)).scalars())


async def holders(connection: AsyncConnection, wanted: Collection[tuple[UUID, bytes]]) -> list[Holder]:
    """The keys, live or deleted only with their client, that have one of some clients' fingerprints."""
    pair = tuple_(_table.client_id, _table.fingerprint)
    statement = select(_table.id, _table.client_id, _table.fingerprint, _table.created_at).where(
        pair.in_(list(wanted)), _live
    )
    return [
        Holder(row_id, client_id, fingerprint, created_at)
        for row_id, client_id, fingerprint, created_at in await connection.execute(statement)
        if fingerprint is not None
    ]


async def supersede(connection: AsyncConnection, ids: Collection[UUID]) -> None:
    """Delete keys, softly, that another row has too; those that were deleted with their client stay so without it."""
    live = (
        update(_table)
        .where(_table.id.in_(ids), ~_table.is_deleted)
        .values(
            is_deleted=True,
            deleted_at=func.now(),
            revision=models.key_revisions.next_value(),
            bridge_state=BridgeState.REMOVING,
            **(_STATE_AFRESH | due()),
        )
    )
    gone_with_client = (
        update(_table).where(_table.id.in_(ids), _table.deleted_with_client).values(deleted_with_client=False)
    )
    await connection.execute(gone_with_client)
    await connection.execute(live)


async def store(connection: AsyncConnection, rows: Sequence[AdoptedRow]) -> None:
    """Put the new seals in the place of the old tokens. What should be true of the keys does not change."""
    given = _unnest(
        {
            "id": (Uuid, [adopted.row.id for adopted in rows]),
            "key_id": (Text, [adopted.key_id for adopted in rows]),
            "key_hint": (Text, [adopted.key_hint for adopted in rows]),
            "fingerprint": (LargeBinary, [adopted.fingerprint for adopted in rows]),
            **{name: (Text, [adopted.sealed.get(name) for adopted in rows]) for name in TOKENS},
        }
    )
    unreadable = _table.bridge_reason == BridgeReason.KEY_UNREADABLE
    statement = (
        update(_table)
        .where(_table.id == given.c.id)
        .values({name: given.c[name] for name in (*TOKENS, "key_id", "key_hint", "fingerprint")})
        .values(
            bridge_state=case((unreadable, BridgeState.PENDING), else_=_table.bridge_state),
            bridge_reason=case((~unreadable, _table.bridge_reason), else_=None),
            next_attempt_at=case((_wanted, func.clock_timestamp()), else_=_table.next_attempt_at),
            updated_at=_table.updated_at,
        )
    )
    await connection.execute(statement)


async def mark_unreadable(connection: AsyncConnection, ids: Collection[UUID]) -> set[UUID]:
    """Say of keys that the bridge should hold why it can't; of the others there is nothing to say. Which of them
    did not say so yet."""
    statement = (
        update(_table)
        .where(
            _table.id.in_(ids),
            _wanted,
            _table.bridge_reason.is_distinct_from(BridgeReason.KEY_UNREADABLE),
        )
        .values(**_STATE_AFRESH)
        .values(bridge_state=BridgeState.FAILED, bridge_reason=BridgeReason.KEY_UNREADABLE)
        .returning(_table.id)
    )
    return set((await connection.execute(statement)).scalars())


_STATE_AFRESH: Final[dict[str, Any]] = {  # Any: values of several columns
    "bridge_reason": None,
    "attempt_count": 0,
    "next_attempt_at": None,
    "configured_at": None,
    "configured_instance": None,
}


def _unnest(columns: Mapping[str, tuple[Any, list[Any]]]) -> TableValuedAlias:
    """Values as a table made of arrays: the same text of the statement, however many rows there are."""
    arrays = [literal(values, ARRAY(kind)) for kind, values in columns.values()]
    named = [column(name, kind) for name, (kind, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*named, name="given").render_derived()
