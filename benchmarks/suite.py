"""How long the foundation's own tests take on two cores: those of the kit, the command, the contracts and the history.

``python -m benchmarks.suite [OPTIONS OF PYTEST]`` runs them, two at a time, and prints the time. Aim: 180 s. Exits 1
when it is missed, and with pytest's status when a test fails.
"""

import subprocess
import sys
import time
from pathlib import Path

AIM = 180.0
ROOMS = ("servicekit", "services", "keybridge", "protos", "house", "migrations")
# What an old system's database becomes is custody's, and has its own time.
LATER = ("migrations/takeover", "migrations/test_takeover.py")
ROOT = Path(__file__).parents[1]


def main() -> int:
    rooms = [f"tests/{room}" for room in ROOMS]
    later = [f"--ignore=tests/{part}" for part in LATER]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *rooms, *later, *sys.argv[1:]]
    begun = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    took = time.monotonic() - begun
    print(f"The foundation's own tests: {took:.0f} s (aim: {AIM:.0f} s)")
    return status or int(took > AIM)


if __name__ == "__main__":
    sys.exit(main())
