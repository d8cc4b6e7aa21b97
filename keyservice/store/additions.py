"""The table of API keys: adding one, in a single statement with all that belongs to it."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Interval, Select, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.enums import Environment
from keyservice.records import ApiKey, Caller
from keyservice.store import audit, requests, scope
from keyservice.store.api_keys import COLUMNS, ERASED, Secrets, record
from keyservice.store.leases import taken
from keyservice.store.requests import Claim

_table = models.ExchangeApiKey
# What a new key brings along; the rest is the table's to fill.
_GIVEN = (
    *("id", "client_id", "exchange", "label", "connector_name", "environment"),
    *(*ERASED, "secret_version", "key_hint", "fingerprint"),
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


async def add(
    connection: AsyncConnection,
    new: NewKey,
    caller: Caller,
    claim: Claim | None,
    lease: timedelta,
    *,
    releases: bool,
) -> ApiKey | None:
    """The key, its request id and its audit events in one statement: all of them, or none, when the client is not
    there or the request id was used before. For the time of the ``lease`` its adder takes the key to the bridge, which
    must not get the credentials if this is not said to be what ``releases`` them.

    The client's row is locked against a concurrent DeleteClient, which would otherwise leave a live key behind.
    """
    values = new.values() | scope.parameters(caller)
    values |= audit.by(caller) | {"lease": lease, "releases": releases}
    if claim is not None:
        values |= requests.parameters(claim)
    statement = _addition(limited=caller.limited, claimed=claim is not None)
    row = (await connection.execute(statement, values)).one_or_none()
    return record(row) if row else None


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
    mark = taken(bindparam("lease", type_=Interval))
    row = select(*given.values(), *mark.values()).select_from(source)
    # Here, too, defaults are left to the table: the fewer parameters, the faster.
    filled = insert(_table).from_select([*given, *mark], row, include_defaults=False)
    added = filled.returning(*COLUMNS).cte("added")
    return select(added).add_cte(
        audit.addition(added, given["key_id"], releases=bindparam("releases", type_=Boolean))
    )
