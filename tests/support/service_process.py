"""A service as a deployment runs it: a process of its own, told everything by its variables.

Standard error is a pipe that every process which the service starts inherits. So its end says that nothing
of them runs any more, and ``errors`` waits for just that.
"""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keyservice.sealing import MasterKey
from servicekit.database.url import DatabaseUrl
from servicekit.process import LIFELINE_VARIABLE, READY_VARIABLE

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
MASTER_KEY = MasterKey.generate()
"""What KeyService seals with where a test does not say otherwise; the same for all that share a database."""


class ServiceProcess:
    """One service, started; it is ready, or over, when it is waited for.

    ``measured`` adds what it runs to the coverage, which takes it half as long again to start.
    """

    def __init__(
        self, module: str, *argv: str, path: Path = ROOT, measured: bool = False, **environ: str
    ) -> None:
        self.module = module
        self._ready, ready = os.pipe()
        # So that it ends with whoever started it, also when that one is killed.
        lifeline, self._lifeline = os.pipe()
        self._address = ""
        self._read = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *argv],
            env={
                **_inherited(measured=measured),
                "PYTHONPATH": str(path),
                READY_VARIABLE: str(ready),
                LIFELINE_VARIABLE: str(lifeline),
                **environ,
            },
            pass_fds=(ready, lifeline),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        os.close(ready)
        os.close(lifeline)
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        """The port that it serves on, once it is ready."""
        return int(self.address.rpartition(":")[2])

    @property
    def address(self) -> str:
        """What it said when it was ready; this waits for it."""
        if self._ready >= 0:
            readable, _, _ = select.select([self._ready], [], [], PATIENCE)
            self._address = os.read(self._ready, 4096).decode().strip() if readable else ""
            os.close(self._ready)
            self._ready = -1
        assert self._address, f"{self.module} did not become ready:\n{self.stderr()}"
        return self._address

    def wait_ready(self) -> "ServiceProcess":
        """Come back once it serves; fail with what it said when it does not."""
        assert self.address
        return self

    def stderr(self) -> str:
        """What it and its children wrote so far."""
        return self._read.decode(errors="replace")

    def errors(self) -> list[str]:
        """All the lines that it wrote, once it is over; nothing that it started may outlive it by long."""
        self.status()
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), f"something of {self.module} still runs:\n{self.stderr()}"
        return self.stderr().splitlines()

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Wait until it wrote something of this look."""
        until = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.stderr())) is None:
            assert time.monotonic() < until, f"it never wrote {pattern!r}:\n{self.stderr()}"
            time.sleep(0.02)
        return found

    def terminate(self, signum: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(signum)

    def status(self) -> int:
        """Its exit status, once it is over."""
        return self.process.wait(PATIENCE)

    def stdout(self) -> bytes:
        """What it wrote to standard output, once it is over: nothing, if it is well-behaved."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def close(self) -> None:
        """End it if it still runs, nicely if it lets itself. Its workers then end by themselves."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        for fd in (self._ready, self._lifeline):
            if fd >= 0:
                os.close(fd)
        self._ready = self._lifeline = -1

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while block := os.read(self.process.stderr.fileno(), 65536):
            self._read += block


StartService = Callable[..., ServiceProcess]


def service_processes() -> Iterator[StartService]:
    """Start services; whichever still runs at the end is killed."""
    started: list[ServiceProcess] = []

    def start(module: str, *argv: str, **options: Any) -> ServiceProcess:
        listen = {f"{module.rpartition('.')[2].upper()}_LISTEN": "127.0.0.1:0"}
        if "keyservice" in (module, *argv):
            listen["KEYSERVICE_ENCRYPTION_KEYS"] = MASTER_KEY
        started.append(ServiceProcess(module, *argv, **{**listen, **options}))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.close()


@pytest.fixture
def start_service() -> Iterator[StartService]:
    """Starts ``python -m module`` on a free port, with these variables and no others."""
    yield from service_processes()


@pytest.fixture(scope="module")
def start_shared_service() -> Iterator[StartService]:
    """The same for services that the tests of one file share, and only look at."""
    yield from service_processes()


def raw_url(url: DatabaseUrl) -> str:
    """A throw-away database's URL as a setting has it."""
    return f"postgresql://{url.user}@/{url.database}?host={url.host}&port={url.port}"


def free_port() -> int:
    """A port that nobody had a moment ago, for what has to be known before it is bound."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _inherited(*, measured: bool) -> Mapping[str, str]:
    """What a process needs to run at all, and what measures its coverage."""
    wanted = {"PATH", "HOME", "LANG", "TMPDIR"}
    if measured:
        wanted |= {name for name in os.environ if name.startswith("COVERAGE_")}
    return {name: os.environ[name] for name in wanted & os.environ.keys()}


def accepts(port: int) -> bool:
    """Whether somebody on the loopback takes connections on this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
