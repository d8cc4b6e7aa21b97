"""A random run of changes and faults, which has to end with the bridge holding just what it should, whatever happened.

``python -m tests.evidence.fault_run --steps 500 --seed 7`` is one run, without a seed it is some of them; ``make test``
does a short one. After every so many steps all faults pass, and all that is not acknowledged has to settle. Then
three things have to be the same: what callers were told, what the rows say, and what the bridge holds, up to the
credentials that the exchanges see. A seed repeats the steps; how they fall together depends on the machine.
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any

from pydantic import SecretStr

from bridgeservice.v1.portfolio_pb2 import CONNECTOR_STATUS_OK
from keyservice.keyring import Keyring, KeyUnreadable, open_keyring
from keyservice.v1 import key_service_pb2 as pb
from servicekit.database import migrate
from servicekit.database.url import parse_url
from tests.evidence.fault_callers import MARK, Callers
from tests.evidence.fault_happenings import Happenings
from tests.evidence.fault_model import Model, Row
from tests.evidence.fault_steps import CLIENTS, FAULTS, Slot, draw
from tests.services.convergence.stage import LOOKS, Stage, longest_pause
from tests.simulator.simulator import Simulator
from tests.support.postgres import ThrowAwayPostgres
from tests.support.sealed import Row as SealedRow
from tests.support.sealed import read_rows
from tests.support.service_process import MASTER_KEY, StartService, service_processes

READ_WITHIN = 60.0
QUIET_EVERY = 50
MOST_AT_ONCE = 8
RUNS = 5
_LOOK = 0.2


class FaultRun:
    """One bridge, two KeyServices, and callers that go on whatever happens."""

    def __init__(self, seed: int, stage: Stage, happenings: Happenings, simulator: Simulator) -> None:
        self.seed = seed
        self.model = Model()
        self.happenings = happenings
        self.stage = stage
        self.callers = Callers(happenings.lines, simulator, self.model)
        self.settled: list[float] = []
        """How long it took at each quiet phase until everything was as it should be."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []

    @classmethod
    @asynccontextmanager
    async def prepared(cls, url: str, start: StartService, seed: int) -> AsyncIterator["FaultRun"]:
        """All processes run, on a database at head, with clients that have no keys yet."""
        async with Stage.on(url, start) as stage, Simulator() as simulator:
            settings = {
                "DATABASE_URL": url,
                "BRIDGESERVICE_EXCHANGE_URLS": json.dumps(simulator.urls),
                "BRIDGESERVICE_RATE_SHARE": "10",
            }
            async with Happenings(stage, simulator, **settings) as happenings:
                run = cls(seed, stage, happenings, simulator)
                await run.callers.prepare()
                yield run

    async def run(self, steps: int, *, quiet_every: int = QUIET_EVERY) -> None:
        """All the steps. What fails says how to repeat it, and what was done."""
        try:
            for step in draw(self.seed, steps):
                await self.happenings.pass_by(step.number)
                await asyncio.sleep(step.pause)
                if step.what in FAULTS:
                    befell = await self.happenings.begin(step)
                    self.callers.told.append(f"{step}{'' if befell else ' → passed over'}")
                else:
                    await self._begin(self.callers.do(step))
                if step.number % quiet_every == 0 or step.number == steps:
                    await self.quiet()
        except BaseException as error:
            error.add_note(f"seed {self.seed}, steps {steps}:\n" + "\n".join(self.callers.told))
            raise
        finally:
            for task in self._under_way:
                task.cancel()

    async def quiet(self, *, within: float | None = None) -> None:
        """Let all faults pass, and hold model, rows and bridge against one another once they have settled.

        For that they have the longest pause that any attempt may have come to, unless it is said how long.
        """
        await self.happenings.pass_by()
        begun = monotonic()
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._failed:
            raise self._failed[0]
        if within is None:
            within = await longest_pause(self.stage) + LOOKS
        await self.stage.until_matched(within)
        self.settled.append(monotonic() - begun)
        self.callers.told.append(f"quiet: settled within {self.settled[-1]:.1f} s")
        self.model.resolve(await self._rows())
        assert not self.model.findings, "\n".join(self.model.findings)

    async def require_credentials(self) -> None:
        """Each live key is read with the credentials that it was given last; and all is still as it was before."""
        until = monotonic() + READ_WITHIN
        for client in range(CLIENTS):
            while wrong := self._misread(await self.callers.balances(client)):
                assert monotonic() < until, "\n".join(wrong)
                await asyncio.sleep(_LOOK)
        await self.quiet()

    def _misread(self, answer: pb.GetBalancesResponse) -> list[str]:
        wanted = {
            key.key_id: key
            for key in self.model.keys.values()
            if not key.state.deleted and not key.state.disabled
        }
        found = []
        for each in answer.keys:
            name, contents = f"{each.exchange}:{each.label}", wanted[each.api_key_id].state.contents
            totals = {balance.asset: balance.total for balance in each.balances}
            if each.status != CONNECTOR_STATUS_OK:
                found.append(f"{name} is not read: {each.warning}")
            elif contents is not None and float(totals[MARK]) != float(self.callers.marks[contents.api_key]):
                raise AssertionError(f"{name} is read with other credentials than it was given last")
        return found

    async def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._over)
        while len(self._under_way) >= MOST_AT_ONCE:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    async def _rows(self) -> list[Row]:
        keyring = await open_keyring(self.stage.database, [SecretStr(MASTER_KEY)])
        sealed = await read_rows(self.stage.database)
        clients = {client_id: number for number, client_id in enumerate(self.callers.client_ids)}
        return [
            Row(
                str(key_id),
                Slot(clients[str(client_id)], exchange, label),
                revision,
                deleted,
                disabled,
                _opened(sealed[key_id], keyring),
            )
            for key_id, client_id, exchange, label, revision, deleted, disabled in await self.stage.sql(
                "SELECT id, client_id, exchange, label, revision, is_deleted, disabled FROM exchange_api_keys"
            )
        ]


def _opened(row: SealedRow, keyring: Keyring) -> dict[str, bytes]:
    """What is in it, which is nothing that anybody gave where it can't be opened."""
    try:
        return row.open(keyring)
    except KeyUnreadable:
        return {"unreadable": b""}


async def report(url: str, seed: int, steps: int) -> dict[str, object]:
    """A whole run, as figures."""
    begun = monotonic()
    await migrate.upgrade(parse_url(url))
    with contextmanager(service_processes)() as start:
        async with FaultRun.prepared(url, start, seed) as run:
            await run.run(steps)
            await run.require_credentials()
            return {
                "seed": seed,
                "steps": steps,
                "seconds": round(monotonic() - begun, 1),
                "befell": dict(run.happenings.count),
                "callers heard": dict(sorted(run.callers.outcomes.items())),
                "keys": len(run.model.keys),
                "unknown outcomes that a row told": run.model.resolved,
                "seconds until all was settled": [round(each, 1) for each in run.settled],
            }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.evidence.fault_run", description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument(
        "--seed", type=int, nargs="+", help="of each run; by default those of five runs are drawn"
    )
    given = parser.parse_args()
    postgres = ThrowAwayPostgres()
    try:
        postgres.start()
        for seed in given.seed or random.SystemRandom().sample(range(10**6), RUNS):
            name = f"run_{seed}"
            postgres.sql(f"CREATE DATABASE {name}")
            figures = asyncio.run(report(postgres.url(name), seed, given.steps))
            sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    finally:
        postgres.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
