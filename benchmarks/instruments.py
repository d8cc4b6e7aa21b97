"""What keeping an exchange's markets costs: one statement a batch, beside one statement a row, by turns.

``python -m benchmarks.instruments [ROUNDS]`` saves 4,000 markets as ccxt describes them, on the private PostgreSQL with
its defaults. Both ways write the same rows in one transaction; the first round, in which they are new, is apart from
the others, in which they are replaced. Ratios are medians over rounds. Aim: 10 times the rows a second.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import uvloop
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from bridgeservice import models
from bridgeservice.enums import InstrumentKind
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.instruments import Description
from bridgeservice.store.instruments import InstrumentStore
from servicekit import logs
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres

MARKETS = 4000
AIM = 10
_table = models.Instrument


def described(number: int) -> Description:
    """A market with as much to it as ccxt tells of one."""
    symbol = f"ASSET{number}/USDT"
    return {
        "id": f"ASSET{number}USDT",
        "symbol": symbol,
        "base": f"ASSET{number}",
        "quote": "USDT",
        "type": "spot",
        "spot": True,
        "active": True,
        "taker": "0.001",
        "maker": "0.001",
        "precision": {"amount": "0.00001", "price": "0.01"},
        "limits": {name: {"min": "0.00001", "max": "9000"} for name in ("amount", "price", "cost")},
        "info": {f"filter {index}": {"minPrice": "0.01", "stepSize": "0.00001"} for index in range(15)},
    }


async def row_by_row(database: Database, markets: Mapping[str, Description]) -> None:
    async with database.transaction() as connection:
        for symbol, description in markets.items():
            statement = insert(_table).values(
                exchange="rows",
                environment=Environment.LIVE,
                kind=InstrumentKind.MARKET,
                symbol=symbol,
                payload=description,
            )
            await connection.execute(
                statement.on_conflict_do_update(
                    constraint="pk_instruments",
                    set_={"payload": statement.excluded.payload, "loaded_at": func.now()},
                )
            )


async def timed(save: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await save()
    return time.perf_counter() - begun


async def measure(url: str, rounds: int) -> None:
    await migrate.upgrade(parse_url(url))
    database = Database(DatabaseOptions(url=parse_url(url), pool_size=2))
    store = InstrumentStore(database)
    markets = {f"ASSET{number}/USDT": described(number) for number in range(MARKETS)}
    size = len(json.dumps(markets)) // MARKETS
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        bulk = await timed(lambda: store.save("bulk", "LIVE", markets, {}))
        rows = await timed(lambda: row_by_row(database, markets))
        times.append((bulk, rows))
    loads = [await timed(lambda: load(store)) for _ in range(rounds)]
    await database.close()
    print(f"{MARKETS} markets of {size} bytes each; aim {AIM} times the rows a second")
    report("new", times[:1])
    report("replaced", times[1:])
    print(f"loaded   {statistics.median(loads):8.3f} s")


async def load(store: InstrumentStore) -> None:
    stored = await store.load("bulk", "LIVE")
    assert stored is not None
    assert len(stored.markets) == MARKETS


def report(what: str, times: list[tuple[float, float]]) -> None:
    bulk, rows = (statistics.median(each) for each in zip(*times, strict=True))
    ratio = statistics.median(slow / fast for fast, slow in times)
    print(
        f"{what:9}in bulk {bulk:6.3f} s, {MARKETS / bulk:8.0f} rows/s;  "
        f"row by row {rows:6.3f} s, {MARKETS / rows:8.0f} rows/s;  {ratio:5.1f} times"
    )


def main() -> None:
    logs.configure("warning")
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    place.chmod(0o711)
    try:
        with EmbeddedPostgres(place / "home") as postgres:
            postgres.ensure_database("keybridge")
            uvloop.run(measure(postgres.url("keybridge"), rounds))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
