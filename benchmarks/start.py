"""How long `keybridge up` takes until both services are SERVING: on a new home, and again on the same one.

``python -m benchmarks.start [ROUNDS]`` prints the medians. Aim: 10 s for the first start, 2 s for a warm one.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def start(home: Path) -> float:
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


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    cold, warm = [], []
    for _ in range(rounds):
        place = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp"))
        place.chmod(0o711)
        try:
            cold.append(start(place / "home"))
            warm.append(start(place / "home"))
        finally:
            shutil.rmtree(place)
    print(f"new home {statistics.median(cold):.2f} s, warm {statistics.median(warm):.2f} s, of {rounds} each")


if __name__ == "__main__":
    main()
