"""How a process begins and ends: its status, its sentence, what stops it and whom it tells."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servicekit import process
from servicekit.errors import SettingsError
from tests.servicekit.running import Start, eventually, programs, wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as start:
        yield start


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue  # the test, or what it tested, closed it


@pytest.mark.parametrize(
    ("how", "status", "sentence"),
    [
        ("environment", 1, "example: the database cannot be reached\n"),
        ("midway", 1, "example: The database does not answer.\n"),
        ("settings", 2, "example: EXAMPLE_LISTEN is odd\n"),
        ("group", 1, "example: the database cannot be reached\n"),
        ("status", 7, ""),
    ],
)
def test_what_cannot_go_on_says_one_sentence_and_has_its_status(
    start: Start, how: str, status: int, sentence: str
) -> None:
    program = start("service", how)
    assert program.status() == status
    assert program.stderr() == sentence


def test_what_nobody_foresaw_is_logged_without_its_text(start: Start) -> None:
    program = start("service", "unforeseen")
    assert program.status() == 1
    line, sentence = program.stderr().splitlines()
    assert "in unforeseen" in line
    assert not re.search("[0-9a-f]{64}", line)
    assert sentence == "example: stopped by an error that nobody foresaw (ValueError); the log says where"


def test_a_line_before_the_settings_is_redacted_too_and_goes_to_standard_error(start: Start) -> None:
    program = start("service", "early_line")
    assert program.status() == 0
    [line] = program.stderr().splitlines()
    assert "a line before the settings" in line
    assert "in early_line" in line
    assert not re.search("[0-9a-f]{64}", line)


def test_it_runs_on_uvloop(start: Start) -> None:
    program = start("service", "loop")
    assert program.status() == 0
    assert program.stderr() == "uvloop"


def test_an_interrupt_before_anybody_listens_shows_no_traceback(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = start("service", "early", EXAMPLE_MARK=str(mark))
    wait_until(mark.exists)
    program.signal(signal.SIGINT)
    assert program.status() == 130
    assert program.stderr() == ""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(start: Start, tmp_path: Path, signum: signal.Signals) -> None:
    mark = tmp_path / "mark"
    program = start("service", "wait", EXAMPLE_MARK=str(mark))
    wait_until(mark.exists)
    program.signal(signum)
    assert program.status() == 0
    assert program.stderr() == f"stopped by {signum.name}\n"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_it_at_once(start: Start, tmp_path: Path, second: signal.Signals) -> None:
    mark = tmp_path / "mark"
    program = start("service", "stubborn", EXAMPLE_MARK=str(mark))
    wait_until(mark.exists)
    program.signal(signal.SIGTERM)
    wait_until(mark.with_suffix(".stopping").exists)
    program.signal(second)
    assert program.status() == -second
    assert program.stderr() == "at once\n"


async def test_the_end_of_the_lifeline_stops_it_and_news_on_it_does_not(pipe: tuple[int, int]) -> None:
    environ = {process.LIFELINE_VARIABLE: str(pipe[0])}
    with process.stop_signal(environ=environ) as stop:
        assert environ == {}, "programs that it starts have another parent"
        os.write(pipe[1], b"news")
        await asyncio.sleep(0)
        assert not stop.is_set()
        os.close(pipe[1])
        assert await asyncio.wait_for(stop.wait(), 5) == "the parent process is gone"


async def test_the_first_reason_stays() -> None:
    with process.stop_signal(environ={}) as stop:
        stop.set("enough")
        stop.set("too late")
        assert stop.is_set()
        assert await stop.wait() == "enough"


async def test_signals_are_left_to_others_afterwards(pipe: tuple[int, int]) -> None:
    with process.stop_signal(environ={process.LIFELINE_VARIABLE: str(pipe[0])}):
        pass
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[0])


async def test_a_signal_within_the_process_is_heard() -> None:
    called: list[str] = []
    with process.stop_signal(at_once=lambda: called.append("x"), environ={}) as stop:
        signal.raise_signal(signal.SIGINT)
        await eventually(stop.is_set)
        assert (stop.reason, called) == ("SIGINT", [])


def test_who_waits_for_it_hears_once_that_it_is_ready(pipe: tuple[int, int]) -> None:
    environ = {process.READY_VARIABLE: str(pipe[1])}
    process.announce_ready("127.0.0.1:5", environ)
    process.announce_ready("again", environ)
    assert os.read(pipe[0], 100) == b"127.0.0.1:5\n"
    assert os.read(pipe[0], 100) == b"", "it was closed"


def test_that_nobody_waits_for_it_does_not_matter(pipe: tuple[int, int]) -> None:
    process.announce_ready(environ={})
    os.close(pipe[0])
    process.announce_ready(environ={process.READY_VARIABLE: str(pipe[1])})


@pytest.mark.parametrize("text", ["", "x", "-1", "999999", "9" * 30])
def test_a_variable_that_names_no_pipe_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="KEYBRIDGE_READY_FD should be the number of an inherited pipe"):
        process.announce_ready(environ={process.READY_VARIABLE: text})


def test_a_file_is_no_pipe(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(SettingsError):
        process.announce_ready(environ={process.READY_VARIABLE: str(file.fileno())})


COLLECTOR = """
import gc
from servicekit import process

process.started()
assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)
with process.starting():
    assert not gc.isenabled()
    process.started()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
with process.starting():
    pass
assert gc.isenabled()
"""


def test_the_collector_is_put_off_while_a_process_starts_and_passes_over_what_the_start_has_made() -> None:
    # In a process of its own: what is frozen stays so.
    subprocess.run([sys.executable, "-c", COLLECTOR], check=True)
