"""A directory for a private PostgreSQL, and the proof that nothing of it is left running."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = os.geteuid() == 0


def processes_with(text: str) -> list[int]:
    """Ids of the processes whose command line holds the text."""
    listing = subprocess.run(
        ["ps", "axww", "-o", "pid=,command="], capture_output=True, text=True, errors="replace", check=True
    )
    rows = [line.split(maxsplit=1) for line in listing.stdout.splitlines()]
    return [int(row[0]) for row in rows if len(row) == 2 and text in row[1] and int(row[0]) != os.getpid()]


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory that the server's account can enter; pytest's own it can't when we are root."""
    # Resolved, because on macOS /tmp is a link.
    directory = Path(tempfile.mkdtemp(prefix="kb-", dir="/tmp")).resolve()
    directory.chmod(0o711 if ROOT else 0o700)
    yield directory
    left = processes_with(str(directory))
    for pid in left:
        os.kill(pid, 9)
    shutil.rmtree(directory)
    assert left == []
