"""Which keys have changed, as replicas tell each other: ids only, as many in one notice as it holds."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Uuid, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.records import ApiKey, Caller
from keyservice.store import scope
from keyservice.store.api_keys import COLUMNS, record
from servicekit.database.notifications import LONGEST
from servicekit.database.reads import Executor

_table = models.ExchangeApiKey
_LENGTH = 32
_MOST = LONGEST // _LENGTH


async def send(connection: AsyncConnection, channel: str, key_ids: Collection[UUID]) -> None:
    """Outside of a transaction: one with a NOTIFY in it makes all others wait for its commit."""
    ids = [key_id.hex for key_id in key_ids]
    for start in range(0, len(ids), _MOST):
        await connection.execute(select(func.pg_notify(channel, "".join(ids[start : start + _MOST]))))


def read(said: str) -> list[UUID]:
    return [UUID(hex=said[start : start + _LENGTH]) for start in range(0, len(said), _LENGTH)]


async def changed(
    connection: Executor, caller: Caller, client_id: UUID | None, key_ids: Sequence[UUID]
) -> list[ApiKey]:
    """Those of the keys that a caller may see, deleted or not."""
    mine = scope.visible(_table.client_id, limited=caller.limited)
    statement = select(*COLUMNS).where(_table.id == any_(literal(list(key_ids), ARRAY(Uuid))), mine)
    if client_id is not None:
        statement = statement.where(_table.client_id == client_id)
    rows = await connection.execute(statement.params(scope.parameters(caller)))
    return [record(row) for row in rows]
