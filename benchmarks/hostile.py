"""What a normal caller of each service waits while somebody attacks it on raw sockets, beside what he waits otherwise.

``python -m benchmarks.hostile``. Services, attacker and caller are processes of their own; the attacks are those of
``tests.support.attacks``. Aim: a p99 below 5 times the quiet one, which is measured anew before each attack, as a
median of three rounds. The exit status is 1 when one attack missed it.
"""

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvloop

from benchmarks.custody import running
from keyservice.sealing import MasterKey
from servicekit import logs
from servicekit.database import migrate
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres
from tests.support.attacks import ATTACKS
from tests.support.probe import plain_channel, raw_call

SECONDS, PAUSE, ROUNDS, AIM = 4.0, 0.01, 3, 5.0
READS = {
    "keyservice": "/keyservice.v1.KeyService/GetBridgeHealth",
    "bridgeservice": "/bridgeservice.v1.TradingBridge/GetBridgeInfo",
}


async def p99(port: int, path: str) -> float:
    """Of calls one after the other, in milliseconds."""
    took = []
    async with plain_channel(port) as channel:
        await raw_call(channel, path, b"")
        until = time.perf_counter() + SECONDS
        while (begun := time.perf_counter()) < until:
            await raw_call(channel, path, b"")
            took.append(time.perf_counter() - begun)
            await asyncio.sleep(PAUSE)
    return statistics.quantiles(took, n=100)[98] * 1000


async def under_attack(attack: str, port: int, path: str) -> float:
    argv = [sys.executable, "-m", "benchmarks.hostile", attack, str(port), path]
    attacker = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE)
    await asyncio.sleep(0.5)  # until its interpreter has begun
    try:
        waited = await p99(port, path)
        if attacker.returncode is not None:
            sys.exit(f"The attack {attack} was over before its time.")
        return waited
    finally:
        assert attacker.stdin is not None
        attacker.stdin.close()  # the end of its input is the end of the attack
        await attacker.wait()


async def measure(service: str, port: int) -> bool:
    met = True
    for attack in ATTACKS:
        rounds = [
            (await p99(port, READS[service]), await under_attack(attack, port, READS[service]))
            for _ in range(ROUNDS)
        ]
        ratio = statistics.median(hostile / quiet for quiet, hostile in rounds)
        met &= ratio < AIM
        quiet, hostile = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"{service:15}{attack:22}{quiet:9.2f} ms{hostile:9.2f} ms{ratio:7.1f}", flush=True)
    return met


def attack_until_told(attack: str, port: int, path: str) -> None:
    """What the attacker's process does, until its input ends."""
    reading = threading.Thread(target=sys.stdin.read, daemon=True)
    reading.start()
    ATTACKS[attack](port, path, reading.is_alive)


def main() -> int:
    logs.configure("warning")
    place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    place.chmod(0o711)
    met = True
    try:
        with EmbeddedPostgres(place / "home") as postgres:
            postgres.ensure_database("keybridge")
            url = postgres.url("keybridge")
            asyncio.run(migrate.upgrade(parse_url(url)))
            print(f"{'':15}{'attack':22}{'p99 quiet':>12}{'attacked':>12}{'times':>7}   (aim below {AIM:g})")
            for service in READS:
                settings = {
                    "DATABASE_URL": url,
                    "KEYSERVICE_ENCRYPTION_KEYS": MasterKey.generate(),
                    f"{service.upper()}_LISTEN": "127.0.0.1:0",
                    f"{service.upper()}_LOG_LEVEL": "warning",
                }
                with running(service, log=place / "log", **settings) as server:
                    port = int(server.addresses[0].rpartition(":")[2])
                    met &= uvloop.run(measure(service, port))
    finally:
        shutil.rmtree(place)
    return 0 if met else 1


if __name__ == "__main__":
    if sys.argv[1:]:
        attack_until_told(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(main())
