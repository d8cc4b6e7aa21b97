"""The table of master keys that the database has met, and the question which rows still need one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models

_table = models.EncryptionKey
_rows = models.ExchangeApiKey
_LATEST = _table.promoted_at.desc().nulls_last()


@dataclass(frozen=True, slots=True)
class Registered:
    """A master key as the database remembers it."""

    key_id: str
    check_value: str
    index_key: str = field(repr=False)
    """Sealed under this very master key."""
    promoted_at: datetime | None = None


async def lock(connection: AsyncConnection) -> None:
    """Nobody else registers, promotes or retires a key until the unit of work ends.

    The lock lets readers pass, and the checks of the foreign key: nobody who adds an API key waits for it.
    """
    await connection.execute(text(f"LOCK TABLE {_table.__tablename__} IN SHARE ROW EXCLUSIVE MODE"))


async def registered(connection: AsyncConnection) -> list[Registered]:
    """All of them, the current one first."""
    columns = (_table.key_id, _table.check_value, _table.index_key, _table.promoted_at)
    rows = await connection.execute(select(*columns).order_by(_LATEST, _table.key_id))
    return [Registered(*row) for row in rows]


async def current_and_others(connection: AsyncConnection) -> tuple[str, list[str]]:
    """The ids: of the current key, and of all others, by which rows may still be sealed."""
    statement = select(_table.key_id).order_by(_LATEST, _table.key_id)
    first, *others = (await connection.execute(statement)).scalars()
    return first, others


async def register(connection: AsyncConnection, keys: Sequence[Registered]) -> None:
    """Remember keys that were not met before; they stand by."""
    values = [
        {"key_id": key.key_id, "check_value": key.check_value, "index_key": key.index_key} for key in keys
    ]
    await connection.execute(insert(_table).values(values))


async def promote(connection: AsyncConnection, key_id: str) -> None:
    """Make a key the current one, by giving it the latest time of all.

    Not merely now(): that is when the transaction began, before it waited for the lock; and the clock of a
    server that took over may be behind that of the one before.
    """
    latest = select(func.max(_table.promoted_at) + timedelta(microseconds=1)).scalar_subquery()
    now = func.greatest(func.clock_timestamp(), latest)
    await connection.execute(update(_table).where(_table.key_id == key_id).values(promoted_at=now))


async def count_rows(connection: AsyncConnection, key_ids: Collection[str]) -> dict[str, int]:
    """How many API keys each of some master keys has sealed, deleted ones included; none is not listed.

    By an index: it costs as many rows as are counted, which at a start that succeeds are none.
    """
    statement = select(_rows.key_id, func.count()).where(_rows.key_id.in_(key_ids)).group_by(_rows.key_id)
    return {key_id: count for key_id, count in await connection.execute(statement) if key_id is not None}


async def retire(connection: AsyncConnection, *, keep: Collection[str]) -> list[str]:
    """Forget every key that was current once, is not to be kept, and that no row names; says which.

    One that stands by may be another replica's next: whoever does not have it can't know.

    Locking the keys first makes whoever is about to store a row under one of them finish, or wait and then be
    refused by the foreign key: the second statement sees all that there is to see.
    """
    candidates = (
        select(_table.key_id)
        .where(_table.key_id.not_in(keep), _table.promoted_at.is_not(None))
        .order_by(_table.key_id)
        .with_for_update()
    )
    key_ids = list((await connection.execute(candidates)).scalars())
    named = exists().where(_rows.key_id == _table.key_id)
    statement = delete(_table).where(_table.key_id.in_(key_ids), ~named).returning(_table.key_id)
    return sorted((await connection.execute(statement)).scalars())
