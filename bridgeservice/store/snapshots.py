"""The table of portfolio snapshots: one row for a connector and a span of time, and what they come to over time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Interval,
    Numeric,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.exchanges.exchange import Balance
from bridgeservice.records import Place
from bridgeservice.store import accounts
from servicekit.database.reads import Executor

_table = models.PortfolioSnapshot
_TIME = TIMESTAMP(timezone=True)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Where all spans are counted from, so that a span is the same one whoever asks."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one connector held, and what that was worth."""

    account_id: UUID
    connector_name: str
    taken_at: datetime
    balances: Sequence[Balance]
    values: Mapping[str, str]
    """By asset; one that has no price is not in it."""
    value: Decimal | None
    """None when nothing could be priced."""
    complete: bool


@dataclass(frozen=True, slots=True)
class Point:
    """What an account was worth in one span. Amounts are None where no connector knew them."""

    time: datetime
    value: Decimal | None
    quote_asset: str
    balances: Mapping[str, Mapping[str, Decimal]]
    """By asset, the amounts by name."""
    complete: bool


@dataclass(frozen=True, slots=True)
class Range:
    """Which spans: those from ``start`` on and before ``end``, each as long as ``interval``."""

    start: datetime
    end: datetime
    interval: timedelta


def span(time: datetime, interval: timedelta) -> datetime:
    """The beginning of the span in which a time lies."""
    return time - (time - _EPOCH) % interval


async def taken(executor: Executor, bucket: datetime) -> set[Place]:
    """The connectors of which there is a snapshot in this span already, each with its account's name."""
    statement = select(models.Account.account_name, _table.connector_name).join(
        models.Account, models.Account.id == _table.account_id
    )
    rows = await executor.execute(statement.where(_table.bucket == bucket))
    return {(account_name, connector_name) for account_name, connector_name in rows}


async def save(
    connection: AsyncConnection, bucket: datetime, quote_asset: str, snapshots: Sequence[Snapshot]
) -> None:
    """One statement for all of them. Where another replica was there first, the later reading stays."""
    columns: dict[str, tuple[Any, list[Any]]] = {
        "account_id": (Uuid, [each.account_id for each in snapshots]),
        "connector_name": (Text, [each.connector_name for each in snapshots]),
        "taken_at": (_TIME, [each.taken_at for each in snapshots]),
        "value": (Numeric, [each.value for each in snapshots]),
        "balances": (Text, [_written(each) for each in snapshots]),
        "complete": (Boolean, [each.complete for each in snapshots]),
    }
    arrays = [literal(values, ARRAY(kind)) for kind, values in columns.values()]
    named = [column(name, kind) for name, (kind, _) in columns.items()]
    given = func.unnest(*arrays).table_valued(*named).render_derived(name="given").c
    row = select(
        literal(bucket, _TIME),
        literal(quote_asset, Text),
        *(cast(given.balances, JSONB) if name == "balances" else given[name] for name in columns),
    )
    statement = insert(_table).from_select(["bucket", "quote_asset", *columns], row)
    renewed = {
        name: statement.excluded[name]
        for name in ("taken_at", "quote_asset", "value", "balances", "complete")
    }
    await connection.execute(
        statement.on_conflict_do_update(
            constraint="pk_portfolio_snapshots",
            set_=renewed,
            where=statement.excluded.taken_at > _table.taken_at,
        )
    )


async def points(executor: Executor, account_name: str, wanted: Range, held: Sequence[str]) -> list[Point]:
    """What the account was worth in each span in which a snapshot was taken, the oldest first.

    A connector is missing in a span, which is then not complete, between its first and its last snapshot of the
    range, and also after the last one when it is among those that are ``held`` now.
    """
    account_id = await accounts.find(executor, account_name)
    if account_id is None:
        return []
    values = {
        "account_id": account_id,
        "start": wanted.start,
        "end": wanted.end,
        "interval": wanted.interval,
        "held": list(held),
    }
    rows = await executor.execute(_HISTORY, values)
    return [
        Point(
            time=row.span,
            value=row.value,
            quote_asset=row.quote_asset,
            balances={
                asset: {name: Decimal(amount) for name, amount in amounts.items() if amount is not None}
                for asset, amounts in sorted((row.balances or {}).items())
            },
            complete=row.complete,
        )
        for row in rows
    ]


async def forget(connection: AsyncConnection, before: datetime, most: int) -> int:
    """Delete the oldest snapshots from before that time, no more than so many; says how many it were."""
    key = tuple_(_table.account_id, _table.connector_name, _table.bucket)
    old = select(_table.account_id, _table.connector_name, _table.bucket).where(_table.bucket < before)
    statement = delete(_table).where(key.in_(old.order_by(_table.bucket).limit(most)))
    return (await connection.execute(statement)).rowcount


# Written out, as it is easier to follow so. A connector's balances sum up to nothing known where one of them is not.
_HISTORY: Final = text(
    """
    WITH last AS (
        SELECT DISTINCT ON (span, connector_name)
               date_bin(:interval, bucket, :epoch) AS span,
               connector_name, taken_at, quote_asset, value, balances, complete
          FROM bridge.portfolio_snapshots
         WHERE account_id = :account_id
           AND bucket >= :start AND bucket < :end
         ORDER BY span, connector_name, bucket DESC
    ), lives AS (
        SELECT connector_name, min(span) AS since,
               CASE WHEN connector_name = ANY (:held) THEN 'infinity' ELSE max(span) END AS until
          FROM last
         GROUP BY connector_name
    ), spans AS (
        SELECT span, (array_agg(quote_asset ORDER BY taken_at DESC))[1] AS quote_asset, count(*) AS connectors
          FROM last
         GROUP BY span
    ), worth AS (
        SELECT span,
               sum(value) FILTER (WHERE last.quote_asset = spans.quote_asset) AS value,
               bool_and(complete AND last.quote_asset = spans.quote_asset) AS complete
          FROM last JOIN spans USING (span)
         GROUP BY span
    ), amounts AS (
        SELECT span, asset,
               (held ->> 'free')::numeric AS free,
               (held ->> 'used')::numeric AS used,
               (held ->> 'total')::numeric AS total,
               CASE WHEN last.quote_asset = spans.quote_asset THEN (held ->> 'value')::numeric END AS value
          FROM last JOIN spans USING (span), jsonb_each(balances) AS entry (asset, held)
    ), assets AS (
        SELECT span, asset,
               jsonb_build_object(
                   'free', CASE WHEN count(free) = count(*) THEN sum(free)::text END,
                   'used', CASE WHEN count(used) = count(*) THEN sum(used)::text END,
                   'total', CASE WHEN count(total) = count(*) THEN sum(total)::text END,
                   'value', CASE WHEN count(value) = count(*) THEN sum(value)::text END
               ) AS amounts
          FROM amounts
         GROUP BY span, asset
    )
    SELECT span, worth.value, spans.quote_asset,
           (SELECT jsonb_object_agg(asset, assets.amounts) FROM assets WHERE assets.span = spans.span) AS balances,
           worth.complete AND connectors = (
               SELECT count(*) FROM lives WHERE spans.span BETWEEN since AND until
           ) AS complete
      FROM spans JOIN worth USING (span)
     ORDER BY span
    """
).bindparams(
    bindparam("epoch", _EPOCH, _TIME),
    bindparam("interval", type_=Interval),
    bindparam("account_id", type_=Uuid),
    bindparam("start", type_=_TIME),
    bindparam("end", type_=_TIME),
    bindparam("held", type_=ARRAY(Text)),
)


def _written(snapshot: Snapshot) -> str:
    return json.dumps(
        {
            balance.asset: {
                name: amount
                for name, amount in (
                    ("free", balance.free),
                    ("used", balance.used),
                    ("total", balance.total),
                    ("value", snapshot.values.get(balance.asset, "")),
                )
                if amount
            }
            for balance in snapshot.balances
        }
    )
