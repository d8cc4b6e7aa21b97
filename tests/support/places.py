"""A directory for a private PostgreSQL, and the proof that nothing of it is left running."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = os.geteuid() == 0
_ROOM = 2 * 1024**3


def processes_with(text: str) -> list[int]:
    """Ids of the processes whose command line holds the text."""
    listing = subprocess.run(
        ["ps", "axww", "-o", "pid=,command="], capture_output=True, text=True, errors="replace", check=True
    )
    rows = [line.split(maxsplit=1) for line in listing.stdout.splitlines()]
    return [int(row[0]) for row in rows if len(row) == 2 and text in row[1] and int(row[0]) != os.getpid()]


def short_directory(prefix: str) -> Path:
    """A new directory with a short path, in memory where there is room for it.

    PostgreSQL makes and removes hundreds of files for each database, and a disk's file system can be slow at just
    that: ext4 looks long for an inode that was not in use a moment ago.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a directory of its own in it
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _ROOM
    # Resolved, because on macOS /tmp is a link.
    disk = Path("/tmp")  # noqa: S108 - the same; and pytest's own paths are too long
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if roomy else disk)).resolve()


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory that the server's account can enter; pytest's own it can't when we are root."""
    directory = short_directory("kb-")
    directory.chmod(0o711 if ROOT else 0o700)
    yield directory
    left = processes_with(str(directory))
    for pid in left:
        os.kill(pid, 9)
    shutil.rmtree(directory)
    assert left == []
