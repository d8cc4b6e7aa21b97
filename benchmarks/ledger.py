"""How fast trades are stored by the batch, beside a bare COPY of the same rows in the same run.

``python -m benchmarks.ledger``; aim: 10,000 trades a second.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges.orders import ExchangeTrade, Fee
from bridgeservice.store import accounts, trades
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from tests.support.old_database import plain_connection
from tests.support.postgres import ThrowAwayPostgres

TRADES, ROUNDS, AIM = 100_000, 3, 10_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def made(number: int) -> ExchangeTrade:
    return ExchangeTrade(
        id=str(number),
        order_id=f"order {number // 3}",
        symbol="BTC/USDT",
        side=OrderSide.BUY,
        amount="0.001",
        price="50000.5",
        cost="50.0005",
        time=START + timedelta(seconds=number),
        fees=(Fee("USDT", "0.05"),),
    )


async def stored(
    database: Database, account_id: UUID, connector: str, all_of: Sequence[ExchangeTrade]
) -> float:
    """Trades a second."""
    began = time.perf_counter()
    for start in range(0, len(all_of), trades.BATCH):
        async with database.transaction() as connection:
            await trades.apply(connection, account_id, connector, all_of[start : start + trades.BATCH])
    return len(all_of) / (time.perf_counter() - began)


async def copied(url: str, all_of: Sequence[ExchangeTrade]) -> float:
    """The same into a table without keys, checks or indexes, as fast as PostgreSQL takes it."""
    rows = [(each.id, each.order_id, each.symbol, each.amount, each.price, each.time) for each in all_of]
    async with plain_connection(parse_url(url)) as connection:
        await connection.execute(
            "CREATE TEMP TABLE bare (a text, b text, c text, d text, e text, f timestamptz)"
        )
        began = time.perf_counter()
        await connection.copy_records_to_table("bare", records=rows)
        return len(rows) / (time.perf_counter() - began)


async def main(url: str) -> int:
    await migrate.upgrade(parse_url(url))
    database = Database(DatabaseOptions(url=parse_url(url)))
    async with database.transaction() as connection:
        account_id = await accounts.ensure(connection, "measured")
    all_of = [made(number) for number in range(TRADES)]
    rates = {"stored": list[float](), "told again": list[float](), "bare COPY": list[float]()}
    for number in range(ROUNDS):
        rates["stored"].append(await stored(database, account_id, f"connector {number}", all_of))
        rates["told again"].append(await stored(database, account_id, f"connector {number}", all_of))
        rates["bare COPY"].append(await copied(url, all_of))
    await database.close()
    for name, measured in rates.items():
        print(f"{name:10} {statistics.median(measured):10,.0f} trades a second")
    reached = statistics.median(rates["stored"]) >= AIM
    if not reached:
        print(f"The promise is {AIM:,} a second.")
    return 0 if reached else 1


if __name__ == "__main__":
    server = ThrowAwayPostgres()
    try:
        server.start()
        server.sql("CREATE DATABASE ledger")
        sys.exit(asyncio.run(main(server.url("ledger"))))
    finally:
        server.stop()
