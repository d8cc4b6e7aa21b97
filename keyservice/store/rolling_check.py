"""The table of API keys as the rolling check sees it: what the bridge should hold of each client."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import BigInteger, Text, Uuid, column, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.enums import BridgeState
from keyservice.store.bridge_states import AFRESH, CONFIGURED, UNCHANGED, WANTED
from servicekit.database.reads import Executor

_table = models.ExchangeApiKey


@dataclass(frozen=True, slots=True)
class Expected:
    """A key that the bridge should hold, and what is known of it there."""

    id: UUID
    connector_name: str
    revision: int
    state: BridgeState
    instance_id: str | None

    @property
    def configured(self) -> bool:
        return self.state is BridgeState.CONFIGURED


async def count_clients(connection: Executor) -> int:
    """How many there are of those that come by here."""
    found = await connection.execute(select(func.count(_table.client_id.distinct())))
    return int(found.scalar_one())


async def clients_with_keys(
    connection: Executor, *, after: UUID, size: int, last: UUID | None = None
) -> list[UUID]:
    """The next clients, by id, that have a key at all: an extra connector is found where all keys are gone too."""
    query = select(_table.client_id).distinct().order_by(_table.client_id).limit(size)
    query = query.where(_table.client_id > after)
    if last is not None:
        query = query.where(_table.client_id <= last)
    return list((await connection.execute(query)).scalars())


async def expected(connection: Executor, client_id: UUID) -> list[Expected]:
    query = select(
        _table.id, _table.connector_name, _table.revision, _table.bridge_state, _table.configured_instance
    ).where(_table.client_id == client_id, WANTED)
    return [Expected(*row) for row in await connection.execute(query)]


async def make_due(connection: AsyncConnection, lost: Sequence[Expected]) -> list[UUID]:
    """Keys that are still what was found missing; says which."""
    given = (
        func.unnest(
            literal([key.id for key in lost], ARRAY(Uuid)),
            literal([key.revision for key in lost], ARRAY(BigInteger)),
        )
        .table_valued(column("id", Uuid), column("revision", BigInteger), name="given")
        .render_derived()
    )
    free = (
        select(_table.id)
        .join(given, _table.id == given.c.id)
        .where(CONFIGURED, _table.revision == given.c.revision)
        .with_for_update(of=_table, skip_locked=True)
        .cte("free")
    )
    statement = update(_table).where(_table.id == free.c.id).values(AFRESH | UNCHANGED).returning(_table.id)
    return list((await connection.execute(statement)).scalars())


async def note_instances(connection: AsyncConnection, moved: Sequence[tuple[Expected, str]]) -> None:
    """Which run of the bridge holds keys by now, where they are still what was looked at."""
    given = (
        func.unnest(
            literal([key.id for key, _ in moved], ARRAY(Uuid)),
            literal([key.revision for key, _ in moved], ARRAY(BigInteger)),
            literal([instance_id for _, instance_id in moved], ARRAY(Text)),
        )
        .table_valued(
            column("id", Uuid), column("revision", BigInteger), column("instance", Text), name="given"
        )
        .render_derived()
    )
    free = (
        select(_table.id, given.c.instance)
        .join(given, _table.id == given.c.id)
        .where(CONFIGURED, _table.revision == given.c.revision)
        .with_for_update(of=_table, skip_locked=True)
        .cte("free")
    )
    statement = update(_table).where(_table.id == free.c.id)
    await connection.execute(statement.values(configured_instance=free.c.instance, **UNCHANGED))
