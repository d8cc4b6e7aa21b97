"""The table of API keys: reading what may be shown of them, and each change of what should be true.

Each of those changes draws a new revision. The sealed columns are read by ``sealed`` only.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Case,
    ColumnElement,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from keyservice import models
from keyservice.credentials import FIELDS
from keyservice.enums import BridgeReason, BridgeState, Environment
from keyservice.records import ApiKey, Caller
from keyservice.store import audit, requests, scope
from keyservice.store.requests import Claim
from servicekit.database.reads import Prepared, Reads

_table = models.ExchangeApiKey
COLUMNS: tuple[InstrumentedAttribute[Any], ...] = tuple(
    getattr(_table, field.name) for field in fields(ApiKey)
)
_ERASED = {"api_key": None, "api_secret": None, "passphrase": None, "extra": None, "key_id": None}
_UNDELETED = {"is_deleted": False, "deleted_at": None, "deleted_with_client": False}
# What a new key brings along; the rest is the table's to fill.
_GIVEN = (
    *("id", "client_id", "exchange", "label", "connector_name", "environment"),
    *(*_ERASED, "secret_version", "key_hint", "fingerprint"),
)
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
            _ERASED
            | self.sealed
            | {
                "key_id": self.key_id if self.sealed else None,
                "secret_version": self.secret_version,
                "key_hint": self.key_hint,
                "fingerprint": self.fingerprint,
            }
        )


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is first stored."""

    id: UUID
    client_id: UUID
    exchange: str
    label: str
    environment: Environment
    secrets: Secrets

    def values(self) -> dict[str, Any]:
        return self.secrets.values() | {
            "id": self.id,
            "client_id": self.client_id,
            "exchange": self.exchange,
            "label": self.label,
            "connector_name": f"{self.exchange}:{self.label}" if self.label else self.exchange,
            "environment": self.environment,
        }


async def add(connection: AsyncConnection, new: NewKey, caller: Caller, claim: Claim | None) -> ApiKey | None:
    """The key, its request id and its audit event in one statement: all of them, or none, when the client is not
    there or the request id was used before.

    The client's row is locked against a concurrent DeleteClient, which would otherwise leave a live key behind.
    """
    values = new.values() | scope.parameters(caller)
    values |= {"caller_name": caller.name, "caller_request_id": caller.request_id}
    if claim is not None:
        values |= requests.parameters(claim)
    statement = _addition(limited=caller.limited, claimed=claim is not None)
    row = (await connection.execute(statement, values)).one_or_none()
    return record(row) if row else None


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
    connection: AsyncConnection, key_id: UUID, secrets: Secrets, *, expected_version: int
) -> ApiKey | None:
    """New credentials in place of the ones of ``expected_version``; None if those are not there any more."""
    statement = (
        _changed(_WANTED)
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


async def set_disabled(connection: AsyncConnection, key_id: UUID, *, disabled: bool) -> ApiKey:
    change = _changed(BridgeState.REMOVING) if disabled else _back(disabled=false())
    statement = change.where(_table.id == key_id).values(disabled=disabled).returning(*COLUMNS)
    return record((await connection.execute(statement)).one())


async def delete(connection: AsyncConnection, key_id: UUID, *, erase: bool) -> ApiKey:
    """Softly; with ``erase`` the credentials are gone for good in the same statement."""
    statement = (
        _changed(BridgeState.REMOVING)
        .where(_table.id == key_id)
        .values(is_deleted=True, deleted_at=func.now(), **(_erasure() if erase else {}))
        .returning(*COLUMNS)
    )
    return record((await connection.execute(statement)).one())


async def undelete(connection: AsyncConnection, key_id: UUID) -> ApiKey:
    statement = _back().where(_table.id == key_id).values(_UNDELETED).returning(*COLUMNS)
    return record((await connection.execute(statement)).one())


async def delete_of_client(connection: AsyncConnection, client_id: UUID, *, erase: bool) -> list[UUID]:
    """All live keys of a client, marked, so that they are told later from those that were deleted before."""
    statement = (
        _changed(BridgeState.REMOVING)
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
        _back()
        .where(_table.client_id == client_id, _table.deleted_with_client, _table.erased_at.is_(None))
        .values(_UNDELETED)
        .returning(_table.id)
    )
    return list((await connection.execute(statement)).scalars())


async def erase_deleted(connection: AsyncConnection, before: datetime, *, limit: int) -> int:
    """Erase the credentials of at most ``limit`` keys that were deleted before a time, with an event for each;
    says how many it were.
    """
    due = (
        select(_table.id)
        .where(_table.is_deleted, _table.erased_at.is_(None), _table.deleted_at <= before)
        .order_by(_table.deleted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    erased = (
        update(_table)
        .where(_table.id.in_(due))
        .values(**_erasure())
        .returning(_table.id, _table.client_id)
        .cte("erased")
    )
    statement = select(func.count()).select_from(erased).add_cte(audit.housekeeping(erased, "EraseApiKey"))
    return (await connection.execute(statement)).scalar_one()


def _changed(state: BridgeState | Case[BridgeState]) -> Update:
    """The beginning of every change of what should be true: a new revision, which nobody has acknowledged."""
    return update(_table).values(
        revision=models.key_revisions.next_value(),
        bridge_state=state,
        bridge_reason=None,
        attempt_count=0,
        next_attempt_at=None,
        configured_at=None,
        configured_instance=None,
    )


def _back(*, disabled: ColumnElement[bool] = _table.disabled.expression) -> Update:
    """The beginning of what brings a key back: one whose credentials can't be opened has nowhere to go."""
    unreadable = and_(~disabled, _UNREADABLE)
    state = case(
        (unreadable, BridgeState.FAILED), (disabled, BridgeState.REMOVING), else_=BridgeState.PENDING
    )
    reason = case((unreadable, BridgeReason.KEY_UNREADABLE), else_=None)
    return _changed(state).values(bridge_reason=reason)


def _erasure() -> dict[str, Any]:
    return _ERASED | {"erased_at": func.now()}


# Statements of the hot paths are made once: to make one costs SQLAlchemy several times what executing it does.


@cache
def _by_id(*, limited: bool) -> Select[*tuple[Any, ...]]:
    mine = scope.visible(_table.client_id, limited=limited)
    return select(*COLUMNS).where(_table.id == bindparam("id"), mine)


@cache
def _prepared_by_id(*, limited: bool) -> Prepared:
    return Prepared(_by_id(limited=limited))


@cache
def _addition(*, limited: bool, claimed: bool) -> Select[*tuple[Any, ...]]:
    client = models.Client
    mine = scope.visible(client.id, limited=limited)
    given = {name: bindparam(name, type_=getattr(_table, name).type) for name in _GIVEN}
    owner = (
        select(client.id)
        .where(client.id == given["client_id"], ~client.is_deleted, mine)
        .with_for_update(read=True)
        .cte("owner")
    )
    source = requests.taken_from(owner, given["id"]) if claimed else owner
    row = select(*given.values()).select_from(source)
    # Here, too, defaults are left to the table: the fewer parameters, the faster.
    filled = insert(_table).from_select(list(given), row, include_defaults=False)
    added = filled.returning(*COLUMNS).cte("added")
    return select(added).add_cte(_event(added))


def _event(added: CTE) -> CTE:
    event = models.AuditEvent
    row = select(
        bindparam("caller_name", type_=event.principal.type),
        literal("AddApiKey"),
        bindparam("caller_request_id", type_=event.request_id.type),
        added.c.client_id,
        added.c.id,
    )
    columns = [event.principal, event.action, event.request_id, event.client_id, event.api_key_id]
    return insert(event).from_select(columns, row, include_defaults=False).cte("event")


def record(row: Row[*tuple[Any, ...]]) -> ApiKey:
    """What may be shown of a key, from a row of ``COLUMNS``."""
    return ApiKey(*row)
