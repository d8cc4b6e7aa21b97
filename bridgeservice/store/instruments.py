"""The table of instruments: what exchanges trade, kept so that it need not be loaded from them again."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Text, cast, column, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from bridgeservice.enums import InstrumentKind
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.instruments import Description, Stored
from servicekit.database.engine import Database
from servicekit.errors import Internal

BATCH: Final = 500
"""Rows a statement: more save next to nothing, and describing them to PostgreSQL stops all else for longer."""

T = TypeVar("T")

_table = models.Instrument
_Row = tuple[InstrumentKind, str, Description]


class InstrumentStore:
    """Keeps instruments in PostgreSQL. ``load`` and ``save`` are a unit of work each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, exchange: str, environment: str) -> Stored | None:
        """What was saved last, with the moment of saving; None when nothing was."""
        rows = (
            await self._database.reads.execute(
                # As text: decoded here, so that other calls get their turn in between.
                select(_table.kind, _table.symbol, cast(_table.payload, Text), _table.loaded_at).where(
                    _table.exchange == exchange, _table.environment == Environment(environment)
                )
            )
        ).all()
        found: dict[InstrumentKind, dict[str, Description]] = {kind: {} for kind in InstrumentKind}
        for batch in _batches(rows):
            for kind, symbol, payload, _ in batch:
                found[kind][symbol] = json.loads(payload)
            await asyncio.sleep(0)
        if not rows:
            return None
        return Stored(
            markets=found[InstrumentKind.MARKET],
            currencies=found[InstrumentKind.CURRENCY],
            loaded_at=max(row.loaded_at for row in rows),
        )

    async def save(
        self,
        exchange: str,
        environment: str,
        markets: Mapping[str, Description],
        currencies: Mapping[str, Description],
    ) -> None:
        """Replace what is kept of this exchange: what is no longer traded is not returned by ``load`` again."""
        of = Environment(environment)
        rows: list[_Row] = [(InstrumentKind.MARKET, symbol, each) for symbol, each in markets.items()]
        rows += [(InstrumentKind.CURRENCY, code, each) for code, each in currencies.items()]
        async with self._database.transaction() as connection:
            now = await _take_turn(connection, exchange, of)
            for batch in _batches(rows):
                await _upsert(connection, exchange, of, batch, now)
            await connection.execute(
                delete(_table).where(
                    _table.exchange == exchange, _table.environment == of, _table.loaded_at != now
                )
            )


async def _take_turn(connection: AsyncConnection, exchange: str, environment: Environment) -> datetime:
    """Wait for whoever saves the same exchange, so that one whole answer replaces another; the time then."""
    key = func.hashtextextended(f"instruments of {exchange} {environment.value}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def _upsert(
    connection: AsyncConnection,
    exchange: str,
    environment: Environment,
    batch: Sequence[_Row],
    now: datetime,
) -> None:
    """One statement, with an array for each column: its text and its plan do not depend on how many there are."""
    columns: list[list[str]] = [
        [kind.value for kind, _, _ in batch],
        [symbol for _, symbol, _ in batch],
        [_json(exchange, description) for _, _, description in batch],
    ]
    arrays = (literal(each, ARRAY(Text)) for each in columns)
    named = (column(name, Text) for name in ("kind", "symbol", "payload"))
    given = func.unnest(*arrays).table_valued(*named).render_derived(name="given")
    statement = insert(_table).from_select(
        ["exchange", "environment", "kind", "symbol", "payload", "loaded_at"],
        select(
            literal(exchange, Text),
            literal(environment, _table.environment.type),
            given.c.kind,
            given.c.symbol,
            cast(given.c.payload, JSONB),
            literal(now, _table.loaded_at.type),
        ),
        include_defaults=False,
    )
    await connection.execute(
        statement.on_conflict_do_update(
            constraint="pk_instruments",
            set_={"payload": statement.excluded.payload, "loaded_at": statement.excluded.loaded_at},
        )
    )


def _json(exchange: str, description: Description) -> str:
    try:
        return json.dumps(description, allow_nan=False)
    except (TypeError, ValueError):
        raise Internal(f"What {exchange} trades can't be kept: a description is not JSON.") from None


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
