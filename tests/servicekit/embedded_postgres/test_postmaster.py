"""The server process and its lock file, apart from a running server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servicekit.embedded_postgres import postmaster
from servicekit.embedded_postgres.account import Account
from servicekit.embedded_postgres.binaries import Binaries
from servicekit.errors import StartupError


@pytest.fixture
def stubborn(place: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that looks like the server of ``place`` and ignores what it is asked."""
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGQUIT, signal.SIG_IGN)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"cluster_name={postmaster._token(place)}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    (place / "postmaster.pid").write_text(f"{process.pid}\n{place}\n")
    yield process
    process.kill()
    process.communicate()


def test_no_setting_makes_it_public() -> None:
    line = postmaster.command(
        Binaries(Path("/bin"), 18), Path("/d"), Path('/a "b'), {"listen_addresses": "*", "work_mem": "8MB"}
    )
    assert line[:3] == ["/bin/postgres", "-D", "/d"]
    assert "listen_addresses=" in line
    assert "listen_addresses=*" not in line
    assert 'unix_socket_directories="/a ""b"' in line
    assert "work_mem=8MB" in line


def test_the_programs_see_neither_pg_variables_nor_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("KEYSERVICE_DATABASE_URL", "postgresql://x")
    seen = postmaster.environment()
    assert set(seen) <= {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LC_ALL"}


def test_only_another_account_is_switched_to() -> None:
    assert set(postmaster.run_as(None).values()) == {None}
    assert postmaster.run_as(Account("x", 70, 71)) == {"user": 70, "group": 71, "extra_groups": []}


def test_a_number_that_belongs_to_someone_else_is_not_the_server(place: Path) -> None:
    assert postmaster.running_pid(place) is None
    (place / "postmaster.pid").write_text(f"{os.getppid()}\n{place}\n")
    assert postmaster.running_pid(place) is None
    (place / "postmaster.pid").write_text("1\n")  # another user's, when we are not root
    assert postmaster.running_pid(place) is None
    postmaster.stop(place)


def test_a_stale_number_is_replaced_and_the_rest_is_kept(place: Path) -> None:
    lines = [f"{os.getpid()}", str(place), "1", "5432", "/s", "", "  123  456 ", "ready   "]
    (place / "postmaster.pid").write_text("\n".join(lines) + "\n")
    (place / ".s.PGSQL.5432.lock").touch()
    assert postmaster.says_ready(place)
    postmaster.neutralise_stale(place, place)
    first, *rest = (place / "postmaster.pid").read_text().splitlines()
    assert rest == lines[1:]
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)
    assert not (place / ".s.PGSQL.5432.lock").exists()


@pytest.mark.parametrize("content", ["", "\n", "garbage\n", "-5\n", "0\n"])
def test_a_lock_file_that_names_nobody_is_removed(place: Path, content: str) -> None:
    (place / "postmaster.pid").write_text(content)
    postmaster.neutralise_stale(place, place)
    assert not (place / "postmaster.pid").exists()
    postmaster.neutralise_stale(place, place)


def test_a_server_that_does_not_listen_is_stopped_by_force(
    place: Path, stubborn: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ((signal.SIGINT, 0.02), (signal.SIGQUIT, 0.02), (signal.SIGKILL, 10.0))
    monkeypatch.setattr(postmaster, "_STOP_STEPS", steps)
    assert postmaster.running_pid(place) == stubborn.pid
    postmaster.stop(place)
    assert postmaster.running_pid(place) is None
    assert stubborn.wait(10) == -signal.SIGKILL


def test_a_server_that_cannot_be_stopped_is_named(
    place: Path, stubborn: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "_STOP_STEPS", ((signal.SIGINT, 0.02),))
    with pytest.raises(StartupError, match=rf"\(process {stubborn.pid}\) doesn't stop"):
        postmaster.stop(place)


def test_a_server_that_ends_while_it_is_being_stopped_is_well(
    place: Path, stubborn: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, number: int) -> None:
        if number:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    postmaster.stop(place)


def test_another_users_process_may_be_the_server_when_its_command_line_says_so(
    place: Path, stubborn: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", forbidden)
        assert postmaster.running_pid(place) == stubborn.pid


def test_a_command_line_is_read_where_there_is_no_proc(
    place: Path, stubborn: "subprocess.Popen[str]"
) -> None:
    line = postmaster._command_line(stubborn.pid, processes=place)
    assert f"cluster_name={postmaster._token(place)}" in line
    assert postmaster._command_line(2**31 - 1) == ""
