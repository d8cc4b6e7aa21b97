"""What a private server survives, and what it says where it can't: kills, leftovers, bad homes."""

import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from servicekit.embedded_postgres import EmbeddedPostgres, binaries, cluster, postmaster, wire
from servicekit.embedded_postgres.locks import FileLock
from servicekit.errors import StartupError

Server = Callable[..., EmbeddedPostgres]
Holder = Callable[..., "subprocess.Popen[str]"]
Pid = Callable[[], int | None]
Ask = Callable[[str, str], Awaitable[Any]]


def kill(process: int | None, number: int = signal.SIGKILL) -> None:
    assert process
    os.kill(process, number)


async def test_a_killed_server_is_recovered_with_its_data(server: Server, ask: Ask, pid: Pid) -> None:
    first, second = server(), server()
    first.start()
    await ask(first.url(), "CREATE TABLE kept AS SELECT 42 AS value")
    killed = pid()
    kill(killed)
    second.start()
    assert pid() != killed
    assert await ask(first.url(), "SELECT value FROM kept") == 42


def test_a_stale_lock_file_that_names_a_live_process_is_no_obstacle(server: Server, pid: Pid) -> None:
    user = server()
    user.start()
    lock_file = user._data / "postmaster.pid"
    lines = lock_file.read_text().splitlines()
    user.stop()
    # As the server's own account: only then PostgreSQL takes the process for another server.
    unrelated = subprocess.Popen(["sleep", "60"], **postmaster.run_as(user._account))
    try:
        lock_file.write_text("\n".join([str(unrelated.pid), *lines[1:]]) + "\n")
        os.chown(lock_file, user._data.stat().st_uid, -1)
        user.start()
        assert pid() not in (None, unrelated.pid)
        user.stop()
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_server_that_hangs_is_replaced(server: Server, pid: Pid, monkeypatch: pytest.MonkeyPatch) -> None:
    server().start()
    hung = pid()
    kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(wire, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "_SILENT_SECONDS", 0.3)
    with monkeypatch.context() as patched:
        steps = ((signal.SIGINT, 0.1), (signal.SIGKILL, 10.0))
        patched.setattr(postmaster, "_STOP_STEPS", steps)
        assert not server_adopts(server)
    monkeypatch.setattr(cluster, "_SILENT_SECONDS", 10.0)
    server().start()
    assert pid() not in (None, hung)


def server_adopts(server: Server) -> bool:
    user = server()
    user._prepare()
    return user._adopt()


async def test_a_server_whose_socket_was_taken_away_is_replaced(
    server: Server, ask: Ask, pid: Pid, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server(), server()
    first.start()
    unreachable = pid()
    first._socket.unlink()
    monkeypatch.setattr(cluster, "_SILENT_SECONDS", 0.3)
    second.start()
    assert pid() not in (None, unreachable)
    assert await ask(second.url(), "SELECT 1") == 1


async def test_a_server_that_is_still_starting_is_waited_for(
    server: Server, pid: Pid, monkeypatch: pytest.MonkeyPatch
) -> None:
    server().start()
    running = pid()
    answers = iter([wire.State.BUSY, wire.State.BUSY])
    probe = wire.probe
    monkeypatch.setattr(wire, "probe", lambda path: next(answers, None) or probe(path))
    server().start()
    assert pid() == running


@contextmanager
def stopped_backend(pids: list[int]) -> Iterator[None]:
    for backend in pids:
        os.kill(backend, signal.SIGSTOP)
    try:
        yield
    finally:
        for backend in pids:
            os.kill(backend, signal.SIGCONT)


async def test_orphans_that_still_use_the_memory_of_a_dead_server_are_waited_for(
    server: Server, pid: Pid, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server(), server()
    first.start()
    connection = await asyncpg.connect(first.url())
    orphan = await connection.fetchval("SELECT pg_backend_pid()")
    monkeypatch.setattr(cluster, "_SILENT_SECONDS", 0.2)
    with stopped_backend([orphan]):
        kill(pid())
        with pytest.raises(StartupError, match="Processes of a dead PostgreSQL still use"):
            second.start()
    connection.terminate()
    monkeypatch.setattr(cluster, "_SILENT_SECONDS", 10.0)
    second.start()
    assert pid()


def test_an_initdb_that_fails_leaves_nothing_that_is_trusted(
    server: Server, home: Path, fake_programs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = fake_programs('touch "$2/PG_VERSION"; echo first >&2; echo no space left >&2; exit 1')
    with monkeypatch.context() as patched:
        patched.setattr(binaries, "candidates", lambda: iter([programs]))
        with pytest.raises(StartupError, match=r"^PostgreSQL's initdb failed: first \| no space left$"):
            server().start()
    assert not [path for path in (home / "postgres").iterdir() if path.name.startswith(("data", "initdb"))]
    server().start()


def test_a_start_that_was_killed_during_initdb_is_begun_anew(
    server: Server, holder: Holder, home: Path, fake_programs: Callable[[str], Path]
) -> None:
    other = holder(home, str(fake_programs('touch "$2/PG_VERSION"; echo $$ > "$2/begun"; exec sleep 60')))

    def begun() -> list[int]:
        return [int(file.read_text() or 0) for file in (home / "postgres").glob("initdb-*/begun")]

    assert postmaster.wait_until(lambda: any(begun()), 20)
    (initdb,) = begun()
    other.kill()
    other.wait()
    assert not list((home / "postgres").glob("data*"))
    server().start()
    assert not list((home / "postgres").glob("initdb-*"))
    os.kill(initdb, signal.SIGKILL)


def test_a_server_that_dies_while_starting_is_quoted(server: Server, home: Path) -> None:
    with pytest.raises(StartupError, match=r'its log .*log ends: .*FATAL: .*"shared_buffers": "many"'):
        server(shared_buffers="many").start()
    server().start()


@pytest.mark.parametrize("fault", [None, KeyboardInterrupt])
def test_a_start_that_is_not_finished_leaves_nothing_running(
    server: Server, pid: Pid, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException] | None
) -> None:
    def never(data: Path) -> bool:
        if fault and postmaster.running_pid(data):
            raise fault
        return False

    with monkeypatch.context() as patched:
        patched.setattr(postmaster, "says_ready", never)
        patched.setattr(cluster, "_READY_SECONDS", 0.5 if fault is None else 30.0)
        with pytest.raises(fault or StartupError, match=None if fault else "was not ready within"):
            server().start()
    assert pid() is None
    server().start()


def test_a_long_log_is_begun_anew(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server():
        pass
    log = home / "postgres" / "log"
    monkeypatch.setattr(cluster, "_LARGEST_LOG", log.stat().st_size)
    with server():
        assert log.read_text().count("starting PostgreSQL") == 2
    with server():
        assert log.read_text().count("starting PostgreSQL") == 1


def test_a_start_that_another_process_holds_up_is_given_up(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = server()
    user._prepare()
    lock = FileLock(home / "postgres" / f"start{user._programs.major}.lock")
    assert lock.exclusive()
    monkeypatch.setattr(cluster, "_LOCK_SECONDS", 0.1)
    begun = time.monotonic()
    with pytest.raises(
        StartupError, match=r"^Another process has been starting or stopping the PostgreSQL in "
    ):
        user.start()
    assert time.monotonic() - begun < 5
    lock.release()


def test_a_home_that_cannot_be_written_is_told_in_a_sentence(server: Server, place: Path) -> None:
    (place / "file").write_text("")
    for home in (place / "file", place / "file" / "home"):
        with pytest.raises(StartupError, match=rf"^The private PostgreSQL can't use its home {home}: .*\.$"):
            server(home).start()


def test_no_postgresql_to_be_had_is_told_in_a_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "candidates", lambda: iter(()))
    with pytest.raises(StartupError, match=r"There is no PostgreSQL 15 or newer to run: install"):
        server().start()
