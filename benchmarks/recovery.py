"""How soon 10,000 keys are back after a bridge was killed, and what users who call meanwhile notice of it.

``python -m benchmarks.recovery [ROUNDS] [--keys N]``. Real processes on the private PostgreSQL with its defaults. In
each round the bridge is killed and started again at once, under 20 interactive calls a second (AddApiKey, GetApiKey,
GetBalances by turns), which are sent on time whether or not the ones before were answered; in every second round
KeyService is killed too, when half of the keys are back. Aims: all back within 15 s of the bridge serving, in
every round; 99 % of the calls answered within 250 ms, of all from the kill to the last key, but for those that met
a KeyService which was not there; no answer that hides that balances are unknown. Exits with 1 when one is missed.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import uvloop

from benchmarks.custody import DEADLINE, load, running
from servicekit import logs
from servicekit.database import migrate
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres
from tests.evidence.interactive import Answered
from tests.evidence.recovery import Recovered, Recovery
from tests.support.probe import Echo, ProbeStub, plain_channel
from tests.support.service_process import service_processes

KEYS, RATE = 10_000, 20.0
SECONDS, MILLISECONDS = 15.0, 250.0
BEFORE, PATIENCE = 3.0, 120.0
# And not as quick as for tests.
AS_DEPLOYED = {"KEYSERVICE_INLINE_BRIDGE_WAIT": "3s", "KEYSERVICE_BRIDGE_TIMEOUT": "30s"}


def percentile(calls: Sequence[Answered], part: int) -> float:
    """In milliseconds."""
    return statistics.quantiles([each.seconds for each in calls], n=100, method="inclusive")[part - 1] * 1000


def say(number: int, recovered: Recovered) -> None:
    calls = recovered.undisturbed
    before = [each for each in recovered.calls if each.due < recovered.killed]
    methods = sorted({each.method for each in calls})
    each = ", ".join(
        f"{method} {percentile([one for one in calls if one.method == method], 99):.0f}" for method in methods
    )
    away = recovered.service_away
    print(
        f"{number:3} {recovered.serving - recovered.killed:8.1f} s {recovered.first - recovered.serving:7.2f} s"
        f" {recovered.seconds:7.2f} s {f'{away[1] - away[0]:.1f} s' if away else '-':>9}"
        f" {percentile(before, 99):9.0f} {percentile(calls, 50):7.0f} {percentile(calls, 99):7.0f}"
        f" {max(one.seconds for one in calls) * 1000:7.0f}   {each}"
    )


def verdict(rounds: Iterable[Recovered], *, misled: int) -> bool:
    """Print the figures of all rounds beside the aims; whether they are reached. Nobody is to be ``misled``."""
    print(f"answers that hid that balances are unknown: {misled} (aim 0)")
    reached = not misled
    for killed, what in ((False, "the bridge alone"), (True, "both")):
        some = [each for each in rounds if (each.service_away is not None) == killed]
        if not some:
            continue
        took = [each.seconds for each in some]
        calls = [call for each in some for call in each.undisturbed]
        failed = sum(each.code is not grpc.StatusCode.OK for each in calls)
        slow = percentile(calls, 99)
        print(
            f"killed {what}: back in {statistics.median(took):.1f} s, at the most {max(took):.1f} s (aim {SECONDS:g});"
            f" {len(calls)} calls, {failed} failed, p50 {percentile(calls, 50):.0f} ms, p99 {slow:.0f} ms"
            f" (aim {MILLISECONDS:g})"
        )
        reached &= max(took) <= SECONDS and slow <= MILLISECONDS and not failed
    return reached


async def raw_echo(url: str, log: Path) -> float:
    """Calls a second of a bare server beside nothing else, to tell one machine from another."""
    with running("benchmarks.custody_baselines", url, log=log) as compared:
        async with plain_channel(int(compared.addresses[0])) as channel:
            stub = ProbeStub(channel)
            return statistics.median(
                [await load(lambda: stub.GetEcho(Echo(text="x"), timeout=DEADLINE)) / 0.4 for _ in range(5)]
            )


async def measure(url: str, log: Path, rounds: int, keys: int) -> bool:
    await migrate.upgrade(parse_url(url))
    with contextmanager(service_processes)() as start:
        async with Recovery.prepared(
            url, start, keys, rate=RATE, patience=PATIENCE, **AS_DEPLOYED
        ) as recovery:
            print(f"raw echo {await raw_echo(url, log):.0f}/s; {keys} keys, {RATE:g} calls a second")
            print(
                f"{'':3} {'served':>10} {'first key':>9} {'all keys':>9} {'without KS':>9}"
                f" {'p99 before':>9} {'p50':>7} {'p99':>7} {'max':>7}   p99 of each, all in ms"
            )
            done = []
            for number in range(rounds):
                done.append(await recovery.once(kill_service=number % 2 == 1, before=BEFORE))
                say(number + 1, done[-1])
            print(", ".join(f"{what}: {count}" for what, count in sorted(recovery.interactive.told.items())))
            return verdict(done, misled=recovery.interactive.misled)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=6)
    parser.add_argument("--keys", type=int, default=KEYS)
    given = parser.parse_args()
    logs.configure("warning")
    place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    place.chmod(0o711)
    try:
        with EmbeddedPostgres(place / "home") as postgres:
            postgres.ensure_database("keybridge")
            url = postgres.url("keybridge")
            return 0 if uvloop.run(measure(url, place / "log", given.rounds, given.keys)) else 1
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
