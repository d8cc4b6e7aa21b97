"""A PostgreSQL that writes down all that it can: every statement, every parameter, also those of errors."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import asyncpg

from tests.support.postgres import BINARIES, ThrowAwayPostgres

USER, DATABASE = "custodian", "custody"
EVERYTHING = {
    "log_statement": "all",
    "log_duration": "on",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
    "log_min_error_statement": "debug5",
    "log_min_messages": "debug1",
    "log_connections": "all",
    "log_lock_waits": "on",
    "deadlock_timeout": "100ms",
    # It is going to be killed, and what was committed before has to be there afterwards.
    "synchronous_commit": "on",
}
# A password that has to be right, for everyone but the tests themselves.
HBA = "local all postgres trust\nlocal all all scram-sha-256\n"


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Come back once it is so; what it asks may block."""
    late = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < late
        await asyncio.sleep(0.02)


class LoggingPostgres(ThrowAwayPostgres):
    """Keyservice's database on it belongs to an account with a password."""

    def __init__(self, password: str) -> None:
        super().__init__(EVERYTHING, hba=HBA)
        self._password = password

    def start(self) -> None:
        super().start()
        # Its log is about what KeyService sends; it must not show the password that the next line sets.
        self.sql("ALTER ROLE postgres SET log_statement = 'none'")
        self.sql("ALTER ROLE postgres SET log_min_duration_statement = -1")
        self.sql("ALTER ROLE postgres SET log_duration = off")
        self.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{self._password}'")
        self.sql(f"CREATE DATABASE {DATABASE} OWNER {USER}")

    def service_url(self, password: str | None = None) -> str:
        given = quote(password or self._password, safe="")
        return f"postgresql://{USER}:{given}@/{DATABASE}?host={quote(str(self.home), safe='')}&port=5432"

    def change(self, statement: str) -> None:
        """SQL as someone at psql would type it, in KeyService's database."""
        self.sql(statement, DATABASE)

    def ask(self, query: str) -> str:
        return self._output("psql", "-X", "-At", "-d", self.url(DATABASE), "-c", query).decode().strip()

    async def session(self) -> "asyncpg.Connection[Any]":
        """A connection to KeyService's database that does not go through KeyService."""
        return await asyncpg.connect(
            host=str(self.home), port=5432, user="postgres", database=DATABASE, password=""
        )

    def dump(self) -> bytes:
        """What a backup would hold, as text."""
        return self._output("pg_dump", "-d", self.url(DATABASE))

    async def waiting_backend(self) -> int:
        """The process that waits for a lock, once there is one."""
        query = (
            "SELECT min(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await until(lambda: self.ask(query) != "")
        return int(self.ask(query))

    async def kill_backend(self, pid: int) -> None:
        """With SIGKILL: the postmaster then ends all the others too, recovers, and goes on."""
        os.kill(pid, signal.SIGKILL)
        await until(lambda: b"reinitializing" in self.log.read_bytes())
        await until(lambda: self._ready().returncode == 0)

    def _output(self, program: str, *arguments: str) -> bytes:
        return subprocess.run(
            [BINARIES / program, *arguments], capture_output=True, check=True, cwd="/"
        ).stdout
