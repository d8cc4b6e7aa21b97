"""The command as its users run it: a process of its own, in an environment of the test's making.

And what the command runs, in the test's own process: for the many cases of one that was run as a process once.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keybridge.interruption import Undo
from servicekit import process
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl

SECONDS = 60.0


class Running:
    """A ``keybridge`` that was started, and what it said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._ended = False
        self._heard = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self._heard:
                self.said += line.decode()
                self._heard.notify_all()
        async with self._heard:
            self._ended = True
            self._heard.notify_all()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until its output matches."""
        async with asyncio.timeout(SECONDS), self._heard:
            await self._heard.wait_for(lambda: re.search(pattern, self.said) or self._ended)
        found = re.search(pattern, self.said)
        assert found, self.said
        return found

    async def ends(self) -> int:
        """Wait for its end; what it had to say is then in ``said``."""
        async with asyncio.timeout(SECONDS):
            await self.process.wait()
            await self._reading
        assert self.process.returncode is not None
        return self.process.returncode

    async def interrupt(self) -> int:
        """Ctrl-C, and its exit status."""
        self.process.send_signal(signal.SIGINT)
        return await self.ends()


Start = Callable[..., Coroutine[Any, Any, Running]]


@pytest.fixture
async def keybridge(place: Path) -> AsyncIterator[Start]:
    """Start ``keybridge`` with these arguments and variables; it is ended with the test.

    ``measured`` adds what it runs to the coverage, which takes it half as long again.
    """
    started: list[Running] = []

    async def start(*arguments: str, measured: bool = False, **variables: str) -> Running:
        environ = {
            "PATH": os.environ["PATH"],
            "KEYBRIDGE_HOME": str(place / "home"),
            "KEYSERVICE_LISTEN": "127.0.0.1:0",
            "BRIDGESERVICE_LISTEN": "127.0.0.1:0",
            **{name: value for name, value in os.environ.items() if measured and name.startswith("COV")},
            **variables,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "keybridge",
            *arguments,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        started.append(Running(process))
        return started[-1]

    yield start
    for running in started:
        if running.process.returncode is None:
            await running.interrupt()


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said meanwhile."""

    status: int
    said: str


Say = Callable[[str], None]
Here = Callable[..., Coroutine[Any, Any, Done]]


@pytest.fixture
def here(place: Path, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run what a command consists of here, with these variables and no others."""

    async def run(
        command: Callable[[Mapping[str, str], Say, Undo], Coroutine[Any, Any, int | None]], **variables: str
    ) -> Done:
        lines: list[str] = []
        capsys.readouterr()
        try:
            status = await command({"KEYBRIDGE_HOME": str(place / "home"), **variables}, lines.append, [])
        except Exception as error:  # noqa: BLE001 - as the process's own boundary does
            status = process.report(error, "keybridge")
        return Done(status or 0, "".join(f"{line}\n" for line in lines) + capsys.readouterr().err)

    return run


@pytest.fixture
async def database(database_url: DatabaseUrl) -> AsyncIterator[Database]:
    """The database that a command is to be run on, for what comes before and after."""
    database = Database(DatabaseOptions(url=database_url, pool_size=2))
    yield database
    await database.close()
