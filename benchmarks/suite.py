"""How long the foundation's own tests take on two cores: those of the kit, the command, the contracts and the history.

``python -m benchmarks.suite [OPTIONS OF PYTEST]`` runs them, two at a time, and prints the time. Aim: 180 s. Exits 1
when it is missed, and with pytest's status when a test fails.
"""

import subprocess
import sys
import time
from pathlib import Path

AIM = 180.0
# What later work has put beside them has its own time.
FOUNDATION = (
    "tests/house",
    "tests/keybridge",
    "tests/migrations/test_draft.py",
    "tests/migrations/test_history.py",
    "tests/protos",
    "tests/servicekit",
    "tests/services/error_table",
    "tests/services/test_drain.py",
    "tests/services/test_faults.py",
    "tests/services/test_malformed.py",
    "tests/services/test_serving.py",
)
ROOT = Path(__file__).parents[1]


def main() -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *FOUNDATION, *sys.argv[1:]]
    begun = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    took = time.monotonic() - begun
    print(f"The foundation's own tests: {took:.0f} s (aim: {AIM:.0f} s)")
    return status or int(took > AIM)


if __name__ == "__main__":
    sys.exit(main())
