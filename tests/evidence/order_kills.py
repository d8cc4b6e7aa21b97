"""Kills the bridge at chosen and at random moments while orders are placed, and counts what was doubled or lost.

``python -m tests.evidence.order_kills --kills 200`` is the whole run; ``make test`` does a short one. One exchange
takes client order ids, the other one none; both fail now and then besides. The seed repeats what is sent and which
moments are chosen; what they hit depends on the machine.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict

from sqlalchemy import text

from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from tests.evidence.crash_clients import Line
from tests.evidence.crash_safety import DURABLE, PATIENCE
from tests.evidence.order_findings import Findings, compare
from tests.evidence.order_moments import PLACES, Moment, Moments
from tests.evidence.order_traders import Trader, push
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import Simulator
from tests.support.postgres import ThrowAwayPostgres
from tests.support.service_process import ServiceProcess

TRADERS_AT_EACH = 3
BALANCES = {"USDT": "1000000000", "BTC": "0"}
SETTLING_SECONDS = 90.0
FAULTS = (
    FaultKind.SLOW,
    FaultKind.FAIL,
    FaultKind.FAIL_AFTER_ACTING,
    FaultKind.DROP,
    FaultKind.DROP_AFTER_ACTING,
    FaultKind.TRUNCATED,
    FaultKind.REFUSE,
)


class OrderRun:
    """One database, one bridge at a time, two exchanges, and traders that never stop."""

    def __init__(self, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self.in_flight: list[int] = []
        """How many calls waited for their answer at each kill."""
        self.said: list[str] = []
        """What the bridges logged."""
        self._chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, and guards nothing
        self._postgres = ThrowAwayPostgres(DURABLE)
        self._url = self._postgres.url("orders")
        self._line = Line(TradingBridgeStub)
        self._bridge: ServiceProcess | None = None
        self.simulator = Simulator()
        self.traders: list[Trader] = []
        self._stack = AsyncExitStack()

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator["OrderRun"]:
        """PostgreSQL and the exchanges run, and are gone afterwards."""
        try:
            await asyncio.to_thread(self._postgres.start)
            await asyncio.to_thread(self._postgres.sql, "CREATE DATABASE orders")
            await migrate.upgrade(parse_url(self._url))
            async with self.simulator:
                for exchange in PLACES:
                    self.traders += [self._trader(exchange, number) for number in range(TRADERS_AT_EACH)]
                yield self
        finally:
            await self._line.close()
            if self._bridge is not None:
                await asyncio.to_thread(self._bridge.close)
            await asyncio.to_thread(self._postgres.stop)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        database = Database(DatabaseOptions(url=parse_url(self._url), pool_size=3))
        try:
            yield database
        finally:
            await database.close()

    async def run(self, kills: int) -> None:
        """So many kills, each moment as often as the others; in the end every order is settled in peace."""
        moments = [list(Moment)[number % len(Moment)] for number in range(kills)]
        self._chance.shuffle(moments)
        stopping = asyncio.Event()
        await self._start_bridge()
        async with self.database() as database, asyncio.TaskGroup() as group:
            for trader in self.traders:
                group.create_task(trader.trade(stopping))
            reach = Moments(self.simulator, database)
            for moment in moments:
                await self._some_more_answers()
                await self._strike(moment, reach)
            await self._some_more_answers()
            for faults in self.simulator.faults.values():
                faults.clear()
            stopping.set()
        await self._settle()
        await self._end_bridge()

    async def findings(self) -> Findings:
        async with self.database() as database:
            return await compare(self.simulator, self.traders, database, self.said)

    async def ends(self) -> dict[str, int]:
        """How many orders ended how, and why."""
        statement = (
            "SELECT state, coalesce(reason, ''), count(*) FROM bridge.orders GROUP BY 1, 2 ORDER BY 1, 2"
        )
        async with self.database() as database, database.autocommit() as connection:
            rows = await connection.execute(text(statement))
            return {f"{state} {reason}".strip(): count for state, reason, count in rows}

    def calls(self) -> dict[str, int]:
        return dict(sum((trader.calls for trader in self.traders), Counter[str]()))

    def refusals(self) -> dict[str, int]:
        return dict(sum((trader.refused for trader in self.traders), Counter[str]()))

    def unforeseen(self) -> list[str]:
        """What the bridges logged of errors that nobody thought of."""
        return [line for line in self.said if "unforeseen" in line]

    def _trader(self, exchange: str, number: int) -> Trader:
        keys = self.simulator.add_account(exchange, balances=BALANCES)
        chance = random.Random(self._chance.random())  # noqa: S311 - the same
        return Trader(self._line, keys, f"{exchange}_{number}", chance)

    async def _strike(self, moment: Moment, reach: Moments) -> None:
        for exchange, path in PLACES.items():
            if self._chance.random() < 0.5:
                fault = self._chance.choice(FAULTS)
                self.simulator.faults[exchange].add(fault, path=path, times=1, seconds=4)
        exchange, pause = self._chance.choice(list(PLACES)), self._chance.uniform(0, 0.4)
        assert self._bridge is not None
        async with reach.reached(moment, exchange, pause):
            self.in_flight.append(sum(trader.in_flight for trader in self.traders))
            self.kills[moment.value] += 1
            self._bridge.process.kill()
            self._line.cut()
            # By the kill, and by nothing that it met itself.
            assert await asyncio.to_thread(self._bridge.status) == -signal.SIGKILL, self._bridge.stderr()
        await self._forget_bridge()
        await self._start_bridge()

    async def _some_more_answers(self) -> None:
        """Until the load is back: something was placed since."""
        before, until = self._answered(), time.monotonic() + PATIENCE
        while self._answered() == before:
            assert time.monotonic() < until, f"nothing was answered any more: {self.refusals()}"
            await asyncio.sleep(0.005)

    def _answered(self) -> int:
        return sum(trader.calls["answered"] for trader in self.traders)

    async def _settle(self) -> None:
        """Until the journal has nothing left to ask about."""
        until = time.monotonic() + SETTLING_SECONDS
        async with self.database() as database:
            while True:
                async with database.autocommit() as connection:
                    left = text("SELECT count(*) FROM bridge.orders WHERE next_check_at IS NOT NULL")
                    if not (await connection.execute(left)).scalar_one() or time.monotonic() > until:
                        return
                await asyncio.sleep(0.1)

    async def _start_bridge(self) -> None:
        self._bridge = ServiceProcess(
            "tests.evidence.bridge_without_client_ids",
            DATABASE_URL=self._url,
            BRIDGESERVICE_EXCHANGE_URLS=json.dumps(self.simulator.urls),
            BRIDGESERVICE_LISTEN="127.0.0.1:0",
            BRIDGESERVICE_LOG_LEVEL="warning",
            # Short, so that what a killed bridge had in hand comes free soon, and is settled soon.
            BRIDGESERVICE_EXCHANGE_TIMEOUT="3s",
            BRIDGESERVICE_REQUEST_TIMEOUT="2s",
            BRIDGESERVICE_ORDER_SETTLING_TIME="3s",
        )
        address = await asyncio.to_thread(lambda bridge: bridge.address, self._bridge)
        await push(address, self.traders)
        await self._line.connect(address)

    async def _end_bridge(self) -> None:
        assert self._bridge is not None
        self._bridge.terminate()
        assert await asyncio.to_thread(self._bridge.status) == 0
        await self._forget_bridge()

    async def _forget_bridge(self) -> None:
        assert self._bridge is not None
        self.said += await asyncio.to_thread(self._bridge.errors)
        await asyncio.to_thread(self._bridge.close)
        self._bridge = None


async def report(seed: int, kills: int) -> dict[str, object]:
    """The whole run, as figures."""
    began = time.monotonic()
    async with OrderRun(seed).prepared() as run:
        await run.run(kills)
        findings = await run.findings()
        ends = await run.ends()
        on_books = {name: len(run.simulator.orders(name)) for name in PLACES}
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "bridge killed": dict(run.kills),
        "calls in flight at a kill": {
            "least": min(run.in_flight),
            "mean": round(sum(run.in_flight) / len(run.in_flight), 1),
        },
        "calls": run.calls(),
        "refusals": run.refusals(),
        "orders on the books": on_books,
        "orders in the journal": ends,
        "findings": asdict(findings),
        "unforeseen": run.unforeseen()[:3],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.evidence.order_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often the bridge is killed")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    figures = asyncio.run(report(given.seed, given.kills))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    findings = figures["findings"]
    return int(isinstance(findings, dict) and any(findings.values()))


if __name__ == "__main__":
    sys.exit(main())
