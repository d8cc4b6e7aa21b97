"""Kills KeyService and PostgreSQL at random points under load, and counts what was lost: it has to be nothing.

``python -m tests.evidence.crash_safety --kills 100 --postgres-kills 10`` is the whole run; ``make test`` does a short
one. The seed repeats what is sent and when the kills fall; what they hit depends on the machine.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from pydantic import SecretStr

from keyservice.keyring import open_keyring
from keyservice.sealing import MasterKey
from keyservice.v1 import key_service_pb2 as pb
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from tests.evidence.crash_clients import CrashClient, Line
from tests.evidence.crash_findings import Findings, compare, read
from tests.evidence.crash_journal import Journal
from tests.support.postgres import ThrowAwayPostgres
from tests.support.service_process import ServiceProcess

CLIENTS = 12
PATIENCE = 30.0
# As a server that holds something worth keeping is set; the one of the tests is not.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass
class Kills:
    """What was done to the processes."""

    service: int = 0
    postgres: int = 0
    calls_in_flight: list[int] = field(default_factory=list)
    """How many calls waited for their answer at each of them."""


class CrashRun:
    """One database, one service at a time, and clients that never stop."""

    def __init__(self, seed: int) -> None:
        self.journal = Journal()
        self.kills = Kills()
        self.said: list[str] = []
        """What the services logged."""
        self._chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, and guards nothing
        self._seed = seed
        self._postgres = ThrowAwayPostgres(DURABLE)
        self._url = self._postgres.url("custody")
        self._key = SecretStr(MasterKey.generate())
        self._line = Line()
        self._service: ServiceProcess | None = None

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator["CrashRun"]:
        """PostgreSQL runs, with the tables in it, and is gone afterwards."""
        try:
            await asyncio.to_thread(self._postgres.start)
            await asyncio.to_thread(self._postgres.sql, "CREATE DATABASE custody")
            await migrate.upgrade(parse_url(self._url))
            yield self
        finally:
            await self._line.close()
            if self._service is not None:
                await asyncio.to_thread(self._service.close)
            await asyncio.to_thread(self._postgres.stop)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        database = Database(DatabaseOptions(url=parse_url(self._url), pool_size=2))
        try:
            yield database
        finally:
            await database.close()

    async def run(self, kills: int, postgres_kills: int) -> None:
        """All the kills, spread over one another at random; the service ends in peace after the last one."""
        await self._start_service()
        stopping = asyncio.Event()
        order = ["service"] * kills + ["postgres"] * postgres_kills
        self._chance.shuffle(order)
        client_ids = [await self._create_client(number) for number in range(CLIENTS)]
        async with asyncio.TaskGroup() as group:
            for number, client_id in enumerate(client_ids):
                client = CrashClient(self._line, self.journal, client_id, self._seed * 1000 + number)
                group.create_task(client.work(stopping))
            for victim in order:
                await self._strike(victim)
            await self._some_more_answers()
            stopping.set()
        await self._end_service()

    async def findings(self) -> Findings:
        async with self.database() as database:
            keyring = await open_keyring(database, [self._key])
            return compare(self.journal, await read(database), keyring, self.said)

    async def stored_without_an_answer(self) -> int:
        """Keys that nobody was told of: the kills did hit the time between COMMIT and answer."""
        async with self.database() as database:
            labels = (await read(database)).labels.keys()
        return sum(not self.journal.keys[label].id for label in labels)

    def unforeseen(self) -> list[str]:
        """What the services logged of errors that nobody thought of."""
        return [line for line in self.said if "unforeseen" in line]

    async def _strike(self, victim: str) -> None:
        await self._some_more_answers()
        await asyncio.sleep(self._chance.uniform(0, 0.25))
        self.kills.calls_in_flight.append(self.journal.in_flight)
        if victim == "postgres":
            self.kills.postgres += 1
            await asyncio.to_thread(self._postgres.crash)
            return
        assert self._service is not None
        self.kills.service += 1
        self._service.process.kill()
        self._line.cut()
        await self._forget_service()
        await self._start_service()

    async def _some_more_answers(self) -> None:
        """Until the load is back: something was added or rotated since."""
        before, until = self.journal.acknowledged, time.monotonic() + PATIENCE
        while self.journal.acknowledged == before:
            assert time.monotonic() < until, f"nothing was acknowledged any more: {self.journal.refused}"
            await asyncio.sleep(0.005)

    async def _start_service(self) -> None:
        self._service = ServiceProcess(
            "keyservice",
            DATABASE_URL=self._url,
            KEYSERVICE_ENCRYPTION_KEYS=self._key.get_secret_value(),
            KEYSERVICE_LISTEN="127.0.0.1:0",
            KEYSERVICE_LOG_LEVEL="warning",
        )
        await self._line.connect(await asyncio.to_thread(lambda service: service.address, self._service))

    async def _end_service(self) -> None:
        assert self._service is not None
        self._service.terminate()
        assert await asyncio.to_thread(self._service.status) == 0
        await self._forget_service()

    async def _forget_service(self) -> None:
        assert self._service is not None
        self.said += await asyncio.to_thread(self._service.errors)
        await asyncio.to_thread(self._service.close)
        self._service = None

    async def _create_client(self, number: int) -> str:
        stub = await self._line.stub()
        answer = await stub.CreateClient(pb.CreateClientRequest(name=f"client {number}"), timeout=PATIENCE)
        return str(answer.client.id)


async def report(seed: int, kills: int, postgres_kills: int) -> dict[str, object]:
    """The whole run, as figures."""
    began = time.monotonic()
    async with CrashRun(seed).prepared() as run:
        await run.run(kills, postgres_kills)
        findings = await run.findings()
        stored = await run.stored_without_an_answer()
    at_kill = run.kills.calls_in_flight
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "service killed": run.kills.service,
        "PostgreSQL killed": run.kills.postgres,
        "calls in flight at a kill": {"least": min(at_kill), "mean": round(sum(at_kill) / len(at_kill), 1)},
        "calls": dict(run.journal.calls),
        "refusals": dict(run.journal.refused),
        "stored although no answer came": stored,
        "findings": asdict(findings),
        "unforeseen": run.unforeseen()[:3],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.evidence.crash_safety", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how often KeyService is killed")
    parser.add_argument("--postgres-kills", type=int, default=10, help="how often PostgreSQL is killed")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    figures = asyncio.run(report(given.seed, given.kills, given.postgres_kills))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    findings = figures["findings"]
    return int(isinstance(findings, dict) and any(findings.values()))


if __name__ == "__main__":
    sys.exit(main())
