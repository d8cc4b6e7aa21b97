"""How soon GetBridgeHealth answers, whatever the bridge does.

``python -m benchmarks.bridge_health [--keys N]``. Real processes on the private PostgreSQL with its defaults, and
10,000 keys. Somebody asks again and again: while the bridge is up; while it hangs, from the moment at which it is
stopped; while it is killed, started again and gets all of its keys back, under 20 interactive calls a second; and while
it is gone. Aim: 99 % of the answers within 100 ms, each time. Exits with 1 when it is missed.
"""

import argparse
import asyncio
import shutil
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import uvloop

from benchmarks.custody import DEADLINE
from benchmarks.recovery import AS_DEPLOYED, raw_echo
from keyservice.v1 import key_service_pb2 as pb
from servicekit import logs
from servicekit.database import migrate
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres
from tests.evidence.recovery import Recovery
from tests.services.convergence.stage import until_reachable
from tests.support.service_process import service_processes

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

KEYS, RATE, CALLS = 10_000, 20.0, 500
MILLISECONDS = 100.0
PAUSE, PATIENCE = 0.01, 120.0


@dataclass
class Looks:
    """The answers to one who asks again and again: how long each took, and what they said."""

    seconds: list[float] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)

    def percentile(self, part: int) -> float:
        """In milliseconds."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[part - 1] * 1000

    def say(self, bridge: str) -> bool:
        """Print the figures beside the aim; whether it is reached."""
        said = ", ".join(f"{what}: {count}" for what, count in self.said.most_common())
        print(
            f"{bridge:15} {len(self.seconds):6} {self.percentile(50):8.1f} {self.percentile(99):8.1f}"
            f" {max(self.seconds) * 1000:8.1f}   {said}"
        )
        return self.percentile(99) < MILLISECONDS


async def look(stub: "KeyServiceAsyncStub", meanwhile: Awaitable[object] | None = None) -> Looks:
    """Ask so many times, and go on until what happens ``meanwhile`` is over."""
    looks = Looks()
    happens = asyncio.ensure_future(meanwhile) if meanwhile else None
    while len(looks.seconds) < CALLS or (happens and not happens.done()):
        begun = monotonic()
        health = await stub.GetBridgeHealth(pb.GetBridgeHealthRequest(), timeout=DEADLINE)
        looks.seconds.append(monotonic() - begun)
        looks.said[
            "reachable" if health.reachable else health.warning.rpartition("(")[2].partition(")")[0]
        ] += 1
        await asyncio.sleep(PAUSE)
    if happens:
        await happens
    return looks


async def look_at_each(recovery: Recovery) -> bool:
    stage, stub = recovery.stage, await recovery.line.stub()
    reached = (await look(stub)).say("up")
    assert stage.bridge is not None
    stage.bridge.terminate(signal.SIGSTOP)
    reached &= (await look(stub)).say("hangs")
    stage.bridge.terminate(signal.SIGCONT)
    await until_reachable(stub)
    reached &= (await look(stub, recovery.once(kill_service=False))).say("restarts")
    await stage.kill_bridge()
    reached &= (await look(stub)).say("is gone")
    return reached


async def measure(url: str, log: Path, keys: int) -> bool:
    await migrate.upgrade(parse_url(url))
    with contextmanager(service_processes)() as start:
        async with Recovery.prepared(
            url, start, keys, rate=RATE, patience=PATIENCE, **AS_DEPLOYED
        ) as recovery:
            print(
                f"raw echo {await raw_echo(url, log):.0f}/s; {keys} keys; aim: p99 below {MILLISECONDS:g} ms"
            )
            print(f"{'the bridge':15} {'calls':>6} {'p50':>8} {'p99':>8} {'max':>8}   what was said")
            return await look_at_each(recovery)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge_health", description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS)
    given = parser.parse_args()
    logs.configure("warning")
    place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    place.chmod(0o711)
    try:
        with EmbeddedPostgres(place / "home") as postgres:
            postgres.ensure_database("keybridge")
            return 0 if uvloop.run(measure(postgres.url("keybridge"), place / "log", given.keys)) else 1
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
