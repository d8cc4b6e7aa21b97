"""What the tests of processes share: starting programs, looking at processes, and leaving nothing running."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip() not in ("", "Z", "Zs", "Z+")


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


class Program:
    """One of the programs of this folder, running; its standard error is kept in a file."""

    def __init__(self, name: str, folder: Path, *argv: str, **environ: str) -> None:
        self.errors = folder / f"{name}.stderr"
        seen = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
        with self.errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAMS / f"{name}.py"), *argv],
                env=seen,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def stderr(self) -> str:
        return self.errors.read_text()

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def status(self) -> int:
        return self.process.wait(timeout=20)


Start = Callable[..., Program]


@contextlib.contextmanager
def programs(folder: Path) -> Iterator[Start]:
    """Start programs; whichever still runs at the end is killed."""
    running: list[Program] = []

    def _start(name: str, *argv: str, **environ: str) -> Program:
        running.append(Program(name, folder, *argv, **environ))
        return running[-1]

    yield _start
    for program in running:
        program.process.kill()
        program.process.wait()


async def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """The same within a loop."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
