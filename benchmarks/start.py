"""How long starts take: `keybridge up` until both services are SERVING, and each service alone on a migrated database.

``python -m benchmarks.start [ROUNDS]`` prints the medians beside the aims, and exits 1 when one is missed. A service is
measured from the start of its process to the line with which it says that it serves.
"""

import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from servicekit import logs
from servicekit.database import migrate
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres
from tests.support.service_process import MASTER_KEY, ServiceProcess

NEW_HOME, WARM, BRIDGE, KEYS = (
    "keybridge up, new home",
    "keybridge up, warm",
    "TradingBridge alone",
    "KeyService alone",
)
AIMS = {NEW_HOME: 10.0, WARM: 2.0, BRIDGE: 1.0, KEYS: 1.0}
SERVICES = {BRIDGE: "bridgeservice", KEYS: "keyservice"}


def start_all(home: Path) -> float:
    """Seconds from the command to the line that says that both serve; it is stopped again."""
    environ = {
        **os.environ,
        "KEYBRIDGE_HOME": str(home),
        "KEYSERVICE_LISTEN": "127.0.0.1:0",
        "BRIDGESERVICE_LISTEN": "127.0.0.1:0",
    }
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "keybridge", "up"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        serving = 0
        while serving < 2:
            serving += "SERVING" in running.stdout.readline()
        took = time.monotonic() - begun
        running.send_signal(signal.SIGINT)
        running.stdout.read()
    return took


def start_alone(module: str, url: str) -> float:
    """The same of one service."""
    variables: dict[str, Any] = {"DATABASE_URL": url, f"{module.upper()}_LISTEN": "127.0.0.1:0"}
    if module == "keyservice":
        variables["KEYSERVICE_ENCRYPTION_KEYS"] = MASTER_KEY
    begun = time.monotonic()
    running = ServiceProcess(module, **variables)
    try:
        running.wait_ready()
        return time.monotonic() - begun
    finally:
        running.close()


def measure(rounds: int, place: Path) -> dict[str, list[float]]:
    """What each start took, by turns."""
    taken: dict[str, list[float]] = {what: [] for what in AIMS}
    with EmbeddedPostgres(place / "database") as postgres:
        url = postgres.url()
        asyncio.run(migrate.upgrade(parse_url(url)))
        # The first start introduces the master key to the database.
        start_alone("keyservice", url)
        for turn in range(rounds):
            home = place / f"home{turn}"
            taken[NEW_HOME].append(start_all(home))
            taken[WARM].append(start_all(home))
            for what, module in SERVICES.items():
                taken[what].append(start_alone(module, url))
    return taken


def main() -> int:
    logs.configure("warning")
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
    place.chmod(0o711)
    try:
        taken = measure(rounds, place)
    finally:
        shutil.rmtree(place)
    print(f"Medians of {rounds}:")
    for what, aim in AIMS.items():
        print(f"  {what:24}{statistics.median(taken[what]):6.2f} s   (aim: {aim:g} s)")
    missed = [what for what, aim in AIMS.items() if statistics.median(taken[what]) > aim]
    for what in missed:
        print(f"Missed: {what}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
