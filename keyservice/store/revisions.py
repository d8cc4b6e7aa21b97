"""The table of API keys where convergence itself draws new revisions: with the old ones the bridge can't be matched.

A key that is gone draws none where another one has its connector by now: that would take it away from it. Whoever calls
these holds the client, so that nobody adds such a key meanwhile.
"""

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from keyservice import models
from keyservice.enums import BridgeState
from keyservice.records import ApiKey
from keyservice.store.bridge_states import UNCHANGED
from keyservice.store.leases import due

_table = models.ExchangeApiKey


async def renew(connection: AsyncConnection, key: ApiKey) -> bool:
    """Draw a new revision for a key that has the one given here, and make it due; says whether it did."""
    statement = (
        update(_table)
        .where(_table.id == key.id, _table.revision == key.revision, _may_draw(key))
        .values(revision=models.key_revisions.next_value(), **due(), **UNCHANGED)
        .returning(_table.id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def doubt_removal(connection: AsyncConnection, key: ApiKey) -> bool:
    """Make a removal due once more that is of a later revision than the key has here; says whether.

    One that nobody has acknowledged yet draws a new revision: the acknowledgement that is on its way is perhaps from
    the wrong run.
    """
    removed = _table.bridge_state == BridgeState.REMOVED
    on_its_way = and_(_table.bridge_state == BridgeState.REMOVING, _may_draw(key))
    statement = (
        update(_table)
        .where(_table.id == key.id, _table.revision > key.revision, or_(removed, on_its_way))
        .values(
            bridge_state=BridgeState.REMOVING,
            revision=case((removed, _table.revision), else_=models.key_revisions.next_value()),
            **due(),
            **UNCHANGED,
        )
        .returning(_table.id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


def _may_draw(key: ApiKey) -> ColumnElement[bool]:
    other = aliased(_table)
    taken_over = (
        select(other.id)
        .where(
            other.client_id == key.client_id,
            other.connector_name == key.connector_name,
            ~other.is_deleted,
            other.id != key.id,
        )
        .exists()
    )
    return or_(~_table.is_deleted, ~taken_over)
