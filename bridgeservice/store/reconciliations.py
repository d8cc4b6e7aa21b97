"""The table of reconciliations: which connectors are compared with their exchanges, how far, and by whom just now."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, Integer, Interval, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice.records import Place
from servicekit.errors import Aborted


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a connector is compared: after something was filled, with something open, and without either."""

    soon: timedelta
    often: timedelta
    seldom: timedelta
    lease: timedelta
    """For how long whoever compares it has it."""


@dataclass(frozen=True, slots=True)
class Due:
    """A connector that is one's own to compare."""

    account_id: UUID
    account_name: str
    connector_name: str
    used_since: datetime
    """When it was first used here: what is older is history."""
    backfilled: bool
    """Whether all of that history has been read."""
    claimed_at: datetime
    """By the database's clock: what changed since was not compared."""
    cursors: Mapping[str, str]
    """Up to which time trades have been read, by market, or under the empty name for all."""
    claimed_until: datetime
    """Names the claim: whoever has the connector after it has another one."""

    @property
    def place(self) -> Place:
        return self.account_name, self.connector_name


async def begin(connection: AsyncConnection, places: Collection[Place]) -> None:
    """Compare these connectors from now on."""
    await connection.execute(_BEGINNING, _arrays(places))


async def hurry(connection: AsyncConnection, places: Collection[Place]) -> None:
    """Make those of these connectors due that are compared at all."""
    await connection.execute(_HURRY, _arrays(places))


async def claim(connection: AsyncConnection, held: Collection[Place], pace: Pace, most: int) -> list[Due]:
    """Those of the connectors that are due and that nobody else has."""
    values = _arrays(held) | {
        "soon": pace.soon,
        "often": pace.often,
        "seldom": pace.seldom,
        "lease": pace.lease,
        "most": most,
    }
    return [Due(*row) for row in await connection.execute(_CLAIM, values)]


async def move(connection: AsyncConnection, due: Due, market: str, cursor: datetime) -> None:
    """Trades have been read up to here. Refused where the connector is another one's by now."""
    values = _own(due) | {"moved": json.dumps({market: cursor.isoformat()})}
    if not (await connection.execute(_MOVE, values)).rowcount:
        raise Aborted("Somebody else compares this connector by now.", reason="CLAIM_LOST")


async def release(
    connection: AsyncConnection, due: Due, *, done: bool, again_in: timedelta = timedelta(0)
) -> None:
    """Give the connector back: compared as a whole, or as far as its cursors say, and then not again for a while. It
    stays whose it is where that is somebody else by now.
    """
    await connection.execute(
        _RELEASE, _own(due) | {"done": done, "pause": again_in, "claimed_at": due.claimed_at}
    )


def _own(due: Due) -> dict[str, Any]:
    return {
        "account_id": due.account_id,
        "connector": due.connector_name,
        "claimed_until": due.claimed_until,
    }


def _arrays(places: Collection[Place]) -> dict[str, Any]:
    ordered = sorted(places)
    return {"accounts": [account for account, _ in ordered], "connectors": [name for _, name in ordered]}


_PLACES: Final = (
    bindparam("accounts", type_=ARRAY(Text())),
    bindparam("connectors", type_=ARRAY(Text())),
)
_OWN: Final = (
    bindparam("account_id", type_=Uuid()),
    bindparam("connector", type_=Text()),
    bindparam("claimed_until", type_=TIMESTAMP(timezone=True)),
)

_BEGINNING: Final = text(
    """
    INSERT INTO bridge.reconciliations (account_id, connector_name)
    SELECT accounts.id, given.connector
      FROM unnest(:accounts, :connectors) AS given (account, connector)
      JOIN bridge.accounts ON accounts.account_name = given.account
     ORDER BY accounts.id, given.connector
        ON CONFLICT DO NOTHING
    """
).bindparams(*_PLACES)

_HURRY: Final = text(
    """
    UPDATE bridge.reconciliations AS kept
       SET reconciled_at = NULL
      FROM unnest(:accounts, :connectors) AS given (account, connector)
      JOIN bridge.accounts ON accounts.account_name = given.account
     WHERE kept.account_id = accounts.id AND kept.connector_name = given.connector
    """
).bindparams(*_PLACES)

_CLAIM: Final = text(
    """
    WITH due AS (
        SELECT kept.account_id, kept.connector_name, accounts.account_name
          FROM bridge.reconciliations AS kept
          JOIN bridge.accounts ON accounts.id = kept.account_id
          JOIN unnest(:accounts, :connectors) AS held (account, connector)
            ON accounts.account_name = held.account AND kept.connector_name = held.connector
         WHERE (kept.claimed_until IS NULL OR kept.claimed_until < clock_timestamp())
           AND (kept.reconciled_at IS NULL OR kept.reconciled_at < clock_timestamp() - CASE
               WHEN EXISTS (
                   SELECT FROM bridge.orders
                    WHERE orders.account_id = kept.account_id AND orders.connector_name = kept.connector_name
                      AND NOT orders.is_deleted AND orders.created_at > kept.reconciled_at - interval '1 day'
                      AND orders.updated_at > kept.reconciled_at AND orders.filled > 0
               ) THEN :soon
               WHEN EXISTS (
                   SELECT FROM bridge.orders
                    WHERE orders.account_id = kept.account_id AND orders.connector_name = kept.connector_name
                      AND orders.state IN ('pending', 'unknown', 'open')
               ) THEN :often
               ELSE :seldom END)
         ORDER BY kept.reconciled_at NULLS FIRST
         LIMIT :most
           FOR NO KEY UPDATE OF kept SKIP LOCKED
    )
    UPDATE bridge.reconciliations AS kept
       SET claimed_until = clock_timestamp() + :lease
      FROM due
     WHERE kept.account_id = due.account_id AND kept.connector_name = due.connector_name
    RETURNING kept.account_id, due.account_name, kept.connector_name, kept.created_at,
              kept.backfilled_at IS NOT NULL, clock_timestamp(), kept.cursors,
              kept.claimed_until
    """
).bindparams(
    *_PLACES,
    *(bindparam(name, type_=Interval()) for name in ("soon", "often", "seldom", "lease")),
    bindparam("most", type_=Integer()),
)

_MOVE: Final = text(
    """
    UPDATE bridge.reconciliations
       SET cursors = cursors || CAST(:moved AS jsonb)
     WHERE account_id = :account_id AND connector_name = :connector AND claimed_until = :claimed_until
    """
).bindparams(*_OWN, bindparam("moved", type_=Text()))

_RELEASE: Final = text(
    """
    UPDATE bridge.reconciliations
       SET claimed_until = clock_timestamp() + :pause,
           reconciled_at = CASE WHEN :done THEN :claimed_at ELSE reconciled_at END,
           backfilled_at = CASE WHEN :done THEN coalesce(backfilled_at, clock_timestamp()) ELSE backfilled_at END,
           updated_at = statement_timestamp()
     WHERE account_id = :account_id AND connector_name = :connector AND claimed_until = :claimed_until
    """
).bindparams(
    *_OWN,
    bindparam("done", type_=Boolean()),
    bindparam("pause", type_=Interval()),
    bindparam("claimed_at", type_=TIMESTAMP(timezone=True)),
)
