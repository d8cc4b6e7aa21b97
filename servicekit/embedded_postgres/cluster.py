"""The private PostgreSQL of one home directory: who uses it, where its things lie, when it starts and stops.

Under ``<home>/postgres`` lie ``data<major>`` (it appears by a rename, so a half-made one is never trusted),
``log`` and two locks. ``start<major>.lock`` serialises starting and stopping. ``users<major>.lock`` counts
users: each holds it shared, and who gets it exclusively on leaving was the last and stops the server. Both
die with their holder; a server that killed users left behind is taken over by the next start.

A forked child is no user of its own: it must not call ``stop``, and its parent's leaving may end the server.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from servicekit.embedded_postgres import binaries, postmaster, wire
from servicekit.embedded_postgres.account import (
    Account,
    check_enterable,
    dropped_to,
    make_home,
    make_private,
    passable,
)
from servicekit.embedded_postgres.locks import FileLock
from servicekit.errors import StartupError

_LOCK_SECONDS = 90.0
_READY_SECONDS = 60.0
_SILENT_SECONDS = 10.0
_LARGEST_LOG = 8 * 1024 * 1024
_LONGEST_SOCKET_PATH = 99  # the kernels' limits are 103 and 107 bytes
# Always this place: TMPDIR may differ between two processes that share a home, and they have to meet.
_SHORT_PLACE = Path("/tmp")  # noqa: S108 - the directory in it is checked to be our own
_ALREADY_THERE = ("42P04", "23505")  # the second is what the loser of a race gets


class EmbeddedPostgres:
    """A private PostgreSQL, started by the first of its users and stopped by the last."""

    def __init__(self, home: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are for a server that this start begins; one that runs already is taken as it is."""
        self._home = Path(home).expanduser().resolve()
        self._settings = dict(settings or {})
        self._directory = self._home / "postgres"
        self._account: Account | None = None
        self._binaries: binaries.Binaries | None = None
        self._users: FileLock | None = None

    def start(self) -> None:
        """Returns when the server takes connections; StartupError, one sentence, when it can't be had."""
        if self._users:
            return
        with _file_errors_in_a_sentence(self._home):
            self._prepare()
            with self._alone():
                users = self._lock("users")
                try:
                    users.shared()
                    self._ensure_running()
                except BaseException:  # whatever interrupts a start leaves no server that nobody uses
                    self._leave(users)
                    raise
                self._users = users

    def stop(self) -> None:
        """Ends this use; the server stops if it was the last one."""
        if not self._users:
            return
        users, self._users = self._users, None
        try:
            with _file_errors_in_a_sentence(self._home), self._alone():
                self._leave(users)
        finally:
            users.release()

    def revive(self) -> bool:
        """Starts the server again if it died under its users; whether that was so."""
        if not self._users or wire.probe(self._socket) is not wire.State.ABSENT:
            return False
        with _file_errors_in_a_sentence(self._home), self._alone():
            self._ensure_running()
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        """Where to connect. A socket needs no port, but with one in it PGPORT can't redirect a client."""
        host = quote(str(self._socket.parent), safe="")
        return f"postgresql://{wire.USER}@/{quote(database, safe='')}?host={host}&port={postmaster.PORT}"

    def ensure_database(self, name: str) -> None:
        """Creates the database if it isn't there; several may ask at once."""
        if not 0 < len(name.encode()) < 64 or "\0" in name:
            raise ValueError("A database's name has 1 to 63 bytes and no NUL.")
        literal, identifier = name.replace("'", "''"), name.replace('"', '""')
        try:
            found = wire.execute(self._socket, f"SELECT FROM pg_database WHERE datname = '{literal}'")
            if found == "SELECT 0":
                # From template0, to which nobody can connect: a connection to the template would hinder it.
                wire.execute(self._socket, f'CREATE DATABASE "{identifier}" TEMPLATE template0')
        except (wire.ServerError, OSError) as error:
            if not (isinstance(error, wire.ServerError) and error.sqlstate in _ALREADY_THERE):
                raise StartupError(f"The database {name} can't be created: {error}.") from error

    def _prepare(self) -> None:
        make_home(self._home)
        remedy = "start as its owner, or choose another home"
        make_private(self._directory, None, mode=passable(), remedy=remedy)
        found = [path for path in self._directory.glob("data*") if path.name[4:].isdecimal()]
        existing = {int(path.name[4:]): path for path in found}
        self._account = dropped_to(existing[major] for major in sorted(existing, reverse=True))
        check_enterable(self._account, self._directory / "data", "its data would lie")
        self._binaries = binaries.find(binaries.candidates(), self._account, existing)

    @property
    def _programs(self) -> binaries.Binaries:
        if self._binaries is None:
            raise RuntimeError("The private PostgreSQL has not been started.")
        return self._binaries

    @property
    def _data(self) -> Path:
        return self._directory / f"data{self._programs.major}"

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    @property
    def _socket(self) -> Path:
        name = f".s.PGSQL.{postmaster.PORT}"
        path = self._directory / f"socket{self._programs.major}" / name
        # A comma separates hosts in a URL, so such a path could not be written in one.
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH and "," not in str(path):
            return path
        digest = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:20]
        return _SHORT_PLACE / f"keybridge-{digest}" / name

    def _lock(self, name: str) -> FileLock:
        return FileLock(self._directory / f"{name}{self._programs.major}.lock")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._lock("start")
        try:
            if not postmaster.wait_until(lock.exclusive, _LOCK_SECONDS):
                raise StartupError(
                    f"Another process has been starting or stopping the PostgreSQL in {self._directory}"
                    f" for more than {_LOCK_SECONDS:.0f} seconds: end it and try again."
                )
            yield
        finally:
            lock.release()

    def _leave(self, users: FileLock) -> None:
        try:
            if users.exclusive():
                postmaster.stop(self._data)
        finally:
            users.release()  # before others may start: they take it without waiting

    def _ensure_running(self) -> None:
        make_private(self._socket.parent, self._account, remedy="remove it")
        if self._adopt():
            return
        for leftover in self._directory.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not self._data.exists():
            self._create_data()
        # Orphans of a killed server may hold its shared memory for a moment: then the launch is repeated.
        if not postmaster.wait_until(self._launch, _SILENT_SECONDS):
            raise StartupError(
                f"Processes of a dead PostgreSQL still use {self._data}: end them and try again."
            )

    def _adopt(self) -> bool:
        """Takes over a server that is there: at once if it answers, else when it does, else not at all."""
        state = wire.probe(self._socket)
        if state is not wire.State.READY and postmaster.running_pid(self._data):
            seconds = _READY_SECONDS if state is wire.State.BUSY else _SILENT_SECONDS
            postmaster.wait_until(lambda: self._answers() or not postmaster.running_pid(self._data), seconds)
            state = wire.probe(self._socket)
        if state is wire.State.READY:
            return True
        postmaster.stop(self._data)  # if it hangs, or its socket was taken away: nobody can be using it
        return False

    def _answers(self) -> bool:
        return wire.probe(self._socket) is wire.State.READY

    def _create_data(self) -> None:
        unfinished = Path(tempfile.mkdtemp(prefix="initdb-", dir=self._directory))
        try:
            make_private(unfinished, self._account, remedy="remove it")
            options = ["-U", wire.USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions"]
            if self._settings.get("fsync") == "off":
                options.append("--no-sync")
            made = subprocess.run(  # noqa: S603 - a program that was found to be PostgreSQL's
                [str(self._programs.initdb), "-D", str(unfinished), *options],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd="/",
                env=postmaster.environment(),
                umask=0o077,
                check=False,
                **postmaster.run_as(self._account),
            )
            if made.returncode != 0:
                raise StartupError(f"PostgreSQL's initdb failed: {_last_lines(made.stderr)}")
            unfinished.rename(self._data)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _launch(self) -> bool:
        """True when the server runs, False when it has to be tried again."""
        postmaster.neutralise_stale(self._data, self._socket.parent)
        log = os.open(self._log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(log, "rb") as reader:
            if reader.seek(0, os.SEEK_END) > _LARGEST_LOG:
                os.ftruncate(log, 0)
            start_of_log = reader.seek(0, os.SEEK_END)
            arguments = postmaster.command(self._programs, self._data, self._socket.parent, self._settings)
            if self._comes_up(postmaster.launch(arguments, self._account, log)):
                return True
            reader.seek(start_of_log)
            said = reader.read()
        if b"pre-existing shared memory block" in said:
            return False
        raise StartupError(
            f"PostgreSQL stopped while it was starting; its log {self._log} ends: {_last_lines(said)}"
        )

    def _comes_up(self, process: "subprocess.Popen[bytes]") -> bool:
        def ready() -> bool:
            return postmaster.says_ready(self._data) and self._answers()

        try:
            settled = postmaster.wait_until(lambda: process.poll() is not None or ready(), _READY_SECONDS)
        except BaseException:  # whatever interrupts a start leaves no server that nobody uses
            process.send_signal(signal.SIGQUIT)
            raise
        finally:
            postmaster.reap_in_background(process)
        if not settled:
            process.send_signal(signal.SIGQUIT)
            raise StartupError(
                f"PostgreSQL was not ready within {_READY_SECONDS:.0f} seconds: see {self._log}."
            )
        return process.returncode is None


@contextmanager
def _file_errors_in_a_sentence(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise StartupError(
            f"The private PostgreSQL can't use its home {home}: {where}{error.strerror or error}."
        ) from error


def _last_lines(output: bytes) -> str:
    return " | ".join(output.decode(errors="replace").strip().splitlines()[-6:]) or "(it said nothing)"
