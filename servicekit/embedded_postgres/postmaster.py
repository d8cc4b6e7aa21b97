"""The server process of one data directory: its command line, its lock file, its launch and its end.

A process counts as the server only if its command line carries the data directory's token: a number in
``postmaster.pid`` may long belong to someone else.
"""

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from servicekit.embedded_postgres.account import Account
from servicekit.embedded_postgres.binaries import Binaries
from servicekit.errors import StartupError

PORT = 5432
_NO_SUCH_PID = 2**31 - 1  # above what any kernel hands out
# How long each way to stop the server is given: the fast one rolls back what is open and makes a checkpoint.
_STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 7.0), (signal.SIGKILL, 7.0))
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME", "TMPDIR")
_DEFAULTS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # The detail of a unique violation, and the statement that met it, show values: they stay out of the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


def environment() -> dict[str, str]:
    """What the programs get to see: no PG* variable that would mislead them, none of our secrets."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | {"LC_ALL": "C"}


def command(binaries: Binaries, data: Path, socket_directory: Path, settings: Mapping[str, str]) -> list[str]:
    """The server's command line; what keeps it private comes last, so that no setting can undo it."""
    quoted = str(socket_directory).replace('"', '""')
    private = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "cluster_name": _token(data),
    }
    pairs = {**_DEFAULTS, **settings, **private}
    options = [part for name, value in pairs.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries.postgres), "-D", str(data), *options]


class _RunAs(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[str | int] | None


def run_as(account: Account | None) -> _RunAs:
    """The arguments of subprocess that make a program run as ``account``, with none of our groups."""
    if account is None:
        return _RunAs(user=None, group=None, extra_groups=None)
    return _RunAs(user=account.uid, group=account.gid, extra_groups=[])


def launch(arguments: list[str], account: Account | None, log: int) -> subprocess.Popen[bytes]:
    """Starts the server in a session of its own, or a Ctrl-C would stop it before those who use it."""
    return subprocess.Popen(  # noqa: S603 - our own command line
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env=environment(),
        umask=0o077,
        start_new_session=True,
        **run_as(account),
    )


def reap_in_background(process: subprocess.Popen[bytes]) -> None:
    """Whoever stops the server, it is our child: without this it would stay a zombie as long as we live."""
    threading.Thread(target=process.wait, name="embedded-postgres", daemon=True).start()


def running_pid(data: Path) -> int | None:
    """The live server of this data directory, by its lock file and by its command line."""
    pid = _recorded_pid(data)
    return pid if pid and _is_server(pid, data) else None


def says_ready(data: Path) -> bool:
    """Whether the server has written that it takes connections: cheaper than asking, and quiet in its log."""
    lines = _lock_file_lines(data)
    return len(lines) > 7 and lines[7].strip() == "ready"


def neutralise_stale(data: Path, socket_directory: Path) -> None:
    """Makes the leftovers of a dead server harmless. Only for who knows that no server of this data is alive.

    The number is replaced, the file kept: it also names the shared memory by which PostgreSQL itself notices
    orphans of the dead server that still write.
    """
    (socket_directory / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
    lines = _lock_file_lines(data)
    if not lines:
        return
    if _recorded_pid(data) is None:
        _lock_file(data).unlink()
        return
    descriptor = os.open(_lock_file(data), os.O_WRONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join([str(_NO_SUCH_PID), *lines[1:]]) + "\n")
        file.truncate()


def stop(data: Path) -> None:
    """Stops the server: fast, then at once, then by force."""
    pid = running_pid(data)
    if pid is None:
        return
    for number, seconds in _STOP_STEPS:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_until(lambda: not _is_server(pid, data), seconds):
            return
    raise StartupError(f"The private PostgreSQL (process {pid}) doesn't stop, not even when it is killed.")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Polls every few milliseconds at first, then more gently; False when the time is up."""
    start = time.monotonic()
    while not condition():
        waited = time.monotonic() - start
        if waited > seconds:
            return False
        time.sleep(0.003 if waited < 1 else 0.05)
    return True


def _token(data: Path) -> str:
    return "keybridge-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:16]


def _is_server(pid: int, data: Path) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and someone else's: its command line may still be read
    return f"cluster_name={_token(data)}" in _command_line(pid)


def _command_line(pid: int, processes: Path = Path("/proc")) -> str:
    """Empty for a zombie: it has ended."""
    try:
        if (processes / "self").exists():
            return os.fsdecode((processes / str(pid) / "cmdline").read_bytes())
        listing = subprocess.run(  # noqa: S603 - a number of our own making
            ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return ""
    return listing.stdout


def _lock_file(data: Path) -> Path:
    return data / "postmaster.pid"


def _lock_file_lines(data: Path) -> list[str]:
    try:
        descriptor = os.open(_lock_file(data), os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        return file.read().splitlines() or [""]


def _recorded_pid(data: Path) -> int | None:
    lines = _lock_file_lines(data)
    return int(lines[0]) if lines and lines[0].strip().isdecimal() and int(lines[0]) > 0 else None
