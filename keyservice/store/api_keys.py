"""The table of API keys: reading what may be shown of them, and each change of what should be true.

Each of those changes draws a new revision. What is sealed comes only with what is claimed for the bridge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Case,
    ColumnElement,
    Row,
    Select,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    false,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from keyservice import models
from keyservice.credentials import FIELDS
from keyservice.enums import BridgeReason, BridgeState
from keyservice.records import ApiKey, Caller
from keyservice.store import audit, scope
from keyservice.store.leases import claimed, due
from keyservice.store.seals import SEALED, Claimed, seals
from servicekit.database.reads import Prepared, Reads

_table = models.ExchangeApiKey
COLUMNS: tuple[InstrumentedAttribute[Any], ...] = tuple(
    getattr(_table, field.name) for field in fields(ApiKey)
)
ERASED = {"api_key": None, "api_secret": None, "passphrase": None, "extra": None, "key_id": None}
_UNDELETED = {"is_deleted": False, "deleted_at": None, "deleted_with_client": False}
# What a live key is on its way to.
_WANTED = case((_table.disabled, BridgeState.REMOVING), else_=BridgeState.PENDING)
# An old database's tokens, which nothing but adoption can open.
_UNREADABLE = and_(_table.key_id.is_(None), or_(*(getattr(_table, name).is_not(None) for name in FIELDS)))


@dataclass(frozen=True, slots=True)
class Secrets:
    """The credentials of a key in the form that the table has: sealed, and what can be told of them unsealed."""

    sealed: dict[str, str]
    """By column; a column that is not named holds nothing."""
    key_id: str | None
    secret_version: int
    key_hint: str
    fingerprint: bytes | None

    def values(self) -> dict[str, Any]:
        return (
            ERASED
            | self.sealed
            | {
                "key_id": self.key_id if self.sealed else None,
                "secret_version": self.secret_version,
                "key_hint": self.key_hint,
                "fingerprint": self.fingerprint,
            }
        )


def is_one_of(ids: Sequence[UUID]) -> ColumnElement[bool]:
    """The condition that a key has one of these ids: the same text of the statement, however many they are."""
    return _table.id == func.any(literal(list(ids), ARRAY(Uuid)))


async def get(reads: Reads, key_id: UUID, caller: Caller) -> ApiKey | None:
    row = await reads.first(
        _prepared_by_id(limited=caller.limited), {"id": key_id} | scope.parameters(caller)
    )
    return ApiKey(*row) if row else None


async def lock(connection: AsyncConnection, key_id: UUID, caller: Caller) -> ApiKey | None:
    """The key, which nobody else changes until the unit of work ends."""
    statement = _by_id(limited=caller.limited).with_for_update()
    parameters = {"id": key_id} | scope.parameters(caller)
    row = (await connection.execute(statement, parameters)).one_or_none()
    return record(row) if row else None


async def replace_secrets(
    connection: AsyncConnection,
    key_id: UUID,
    secrets: Secrets,
    *,
    expected_version: int,
    lease: timedelta | None = None,
) -> ApiKey | None:
    """New credentials in place of the ones of ``expected_version``; None if those are not there any more."""
    statement = (
        _changed(_WANTED, claimed(lease))
        .where(_table.id == key_id, _table.secret_version == expected_version, ~_table.is_deleted)
        .values(**secrets.values(), can_read=None, can_trade=None, can_withdraw=None, verified_at=None)
        .returning(*COLUMNS)
    )
    row = (await connection.execute(statement)).one_or_none()
    return record(row) if row else None


async def rename(connection: AsyncConnection, key_id: UUID, label: str) -> ApiKey:
    """Another label. Nothing that the bridge should hold changes, so neither does the revision."""
    statement = update(_table).where(_table.id == key_id).values(label=label).returning(*COLUMNS)
    return record((await connection.execute(statement)).one())


async def set_disabled(
    connection: AsyncConnection, key_id: UUID, *, disabled: bool, lease: timedelta | None = None
) -> Claimed:
    mark = claimed(lease)
    change = _changed(BridgeState.REMOVING, mark) if disabled else _back(mark, disabled=false())
    statement = change.where(_table.id == key_id).values(disabled=disabled).returning(*COLUMNS, *SEALED)
    return claimed_record((await connection.execute(statement)).one())


async def delete(
    connection: AsyncConnection, key_id: UUID, *, erase: bool, lease: timedelta | None = None
) -> ApiKey:
    """Softly; with ``erase`` the credentials are gone for good in the same statement."""
    statement = (
        _changed(BridgeState.REMOVING, claimed(lease))
        .where(_table.id == key_id)
        .values(is_deleted=True, deleted_at=func.now(), **(_erasure() if erase else {}))
        .returning(*COLUMNS)
    )
    return record((await connection.execute(statement)).one())


async def undelete(connection: AsyncConnection, key_id: UUID, *, lease: timedelta | None = None) -> Claimed:
    statement = _back(claimed(lease)).where(_table.id == key_id).values(_UNDELETED)
    return claimed_record((await connection.execute(statement.returning(*COLUMNS, *SEALED))).one())


async def delete_of_client(connection: AsyncConnection, client_id: UUID, *, erase: bool) -> list[UUID]:
    """All live keys of a client, marked, so that they are told later from those that were deleted before."""
    statement = (
        _changed(BridgeState.REMOVING, due())
        .where(_table.client_id == client_id, ~_table.is_deleted)
        .values(
            is_deleted=True,
            deleted_at=func.now(),
            deleted_with_client=True,
            **(_erasure() if erase else {}),
        )
        .returning(_table.id)
    )
    return list((await connection.execute(statement)).scalars())


async def undelete_of_client(connection: AsyncConnection, client_id: UUID) -> list[UUID]:
    """The keys that were deleted with their client, but for those whose credentials were erased since."""
    statement = (
        _back(due())
        .where(_table.client_id == client_id, _table.deleted_with_client, _table.erased_at.is_(None))
        .values(_UNDELETED)
        .returning(_table.id)
    )
    return list((await connection.execute(statement)).scalars())


async def erase_deleted(connection: AsyncConnection, before: datetime, *, limit: int) -> int:
    """Erase the credentials of at most ``limit`` keys that were deleted before a time, with an event for each;
    says how many it were.
    """
    old = (
        select(_table.id)
        .where(_table.is_deleted, _table.erased_at.is_(None), _table.deleted_at <= before)
        .order_by(_table.deleted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    erased = (
        update(_table)
        .where(_table.id.in_(old))
        .values(**_erasure())
        .returning(_table.id, _table.client_id)
        .cte("erased")
    )
    statement = select(func.count()).select_from(erased).add_cte(audit.housekeeping(erased, "EraseApiKey"))
    return (await connection.execute(statement)).scalar_one()


def _changed(state: BridgeState | Case[BridgeState], mark: Mapping[str, Any]) -> Update:
    """The beginning of every change of what should be true: a new revision, which nobody has acknowledged.

    The ``mark`` says who takes it to the bridge.
    """
    return update(_table).values(
        revision=models.key_revisions.next_value(),
        bridge_state=state,
        bridge_reason=None,
        configured_at=None,
        configured_instance=None,
        **mark,
    )


def _back(mark: Mapping[str, Any], *, disabled: ColumnElement[bool] = _table.disabled.expression) -> Update:
    """The beginning of what brings a key back: one whose credentials can't be opened has nowhere to go."""
    unreadable = and_(~disabled, _UNREADABLE)
    state = case(
        (unreadable, BridgeState.FAILED), (disabled, BridgeState.REMOVING), else_=BridgeState.PENDING
    )
    reason = case((unreadable, BridgeReason.KEY_UNREADABLE), else_=None)
    nobody = {"next_attempt_at": None, "attempt_count": 0}
    marked = {
        name: case((unreadable, nobody.get(name, getattr(_table, name))), else_=value)
        for name, value in mark.items()
    }
    return _changed(state, marked).values(bridge_reason=reason)


def _erasure() -> dict[str, Any]:
    return ERASED | {"erased_at": func.now()}


# Statements of the hot paths are made once: to make one costs SQLAlchemy several times what executing it does.


@cache
def _by_id(*, limited: bool) -> Select[*tuple[Any, ...]]:
    mine = scope.visible(_table.client_id, limited=limited)
    return select(*COLUMNS).where(_table.id == bindparam("id"), mine)


@cache
def _prepared_by_id(*, limited: bool) -> Prepared:
    return Prepared(_by_id(limited=limited))


def record(row: Row[*tuple[Any, ...]]) -> ApiKey:
    """What may be shown of a key, from a row of ``COLUMNS``."""
    return ApiKey(*row)


def claimed_record(row: Sequence[Any]) -> Claimed:
    """The same with what is sealed, from a row of ``COLUMNS`` and then ``SEALED``."""
    count = len(COLUMNS)
    return Claimed(ApiKey(*row[:count]), seals(row[count:]))
