"""Child processes: ready, stopped, killed, mended, and ended by the end of their parent."""

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from servicekit import logs
from servicekit.children import Backoff, Child, ChildFailed, Command, Keeper, how_it_ended
from servicekit.errors import StartupError
from tests.servicekit.running import ROOT, alive, eventually

GRACE = timedelta(seconds=10)
QUICK = Backoff(timedelta(milliseconds=10), timedelta(milliseconds=40))

READY = """
import os, sys
def ready(line):
    os.write(int(os.environ["KEYBRIDGE_READY_FD"]), line)
"""
WAITS = READY + 'ready(b"%d\\n" % os.getpid()); sys.stdin.read(); import signal; signal.pause()'
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS
FOLLOWS_LIFELINE = READY + 'ready(b"\\n"); os.read(int(os.environ["KEYBRIDGE_LIFELINE_FD"]), 1)'


def command(program: str) -> Command:
    return Command("example", [sys.executable, "-S", "-c", program], {"PATH": os.environ["PATH"]})


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
async def children() -> AsyncIterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.kill()
        await child.ended
        await child.announced


@pytest.fixture
async def keepers() -> AsyncIterator[list[Keeper]]:
    started: list[Keeper] = []
    yield started
    for keeper in started:
        await keeper.stop(timedelta(0))


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    yield stream
    structlog.reset_defaults()


async def test_a_child_says_that_it_is_ready_and_stops_when_asked(children: list[Child]) -> None:
    children.append(child := await Child.start(command(WAITS)))
    assert await child.ready() == str(child.pid)
    assert os.getsid(child.pid) == child.pid, "Ctrl-C on the terminal is not for it"
    assert await child.stop(GRACE) == -signal.SIGTERM
    assert not alive(child.pid)


async def test_a_child_that_does_not_stop_is_killed_when_the_grace_is_over(children: list[Child]) -> None:
    children.append(child := await Child.start(command(DEAF)))
    await child.ready()
    assert await child.stop(timedelta(milliseconds=50)) == -signal.SIGKILL


async def test_a_child_that_ends_before_it_is_ready_says_nothing(children: list[Child]) -> None:
    children.append(child := await Child.start(command("import sys; sys.exit(3)")))
    assert await child.ready() is None
    assert await child.stop(GRACE) == 3


async def test_a_child_that_ends_as_soon_as_it_is_ready_was_ready(children: list[Child]) -> None:
    children.append(child := await Child.start(command(READY + 'ready(b"now\\n")')))
    assert await child.ready() == "now"


async def test_half_a_line_is_not_ready(children: list[Child]) -> None:
    children.append(child := await Child.start(command(READY + 'ready(b"no")')))
    assert await child.ready() is None


async def test_a_grandchild_that_keeps_the_pipe_does_not_keep_the_parent_waiting(
    children: list[Child],
) -> None:
    program = "import os, signal\nif os.fork():\n    os._exit(1)\nsignal.pause()"
    children.append(child := await Child.start(command(program)))
    assert await asyncio.wait_for(child.ready(), 10) is None
    os.killpg(child.pid, signal.SIGKILL)


async def test_a_child_ends_with_its_lifeline(children: list[Child]) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    program = f"""
import asyncio, os, sys
from servicekit.children import Child, Command
from servicekit.process import announce_ready
async def main():
    child = await Child.start(Command("inner", {[sys.executable, "-S", "-c", FOLLOWS_LIFELINE]!r}, {{}}))
    await child.ready()
    announce_ready(str(child.pid))
    await asyncio.Event().wait()
asyncio.run(main())
"""
    outer = await Child.start(Command("outer", [sys.executable, "-c", program], environ))
    children.append(outer)
    inner = int(await outer.ready() or "0")
    assert alive(inner)
    os.kill(outer.pid, signal.SIGKILL)
    await eventually(lambda: not alive(inner))


async def test_what_cannot_be_started_is_one_sentence() -> None:
    before = open_files()
    with pytest.raises(StartupError, match="example cannot be started: No such file or directory"):
        await Child.start(Command("example", ["/nonexistent"], {}))
    with pytest.raises(ValueError, match="null"):
        await Child.start(Command("example", ["a\0b"], {}))
    assert open_files() == before, "no pipe is left open"


async def test_a_child_that_died_is_replaced_and_that_is_logged(
    keepers: list[Keeper], output: io.StringIO
) -> None:
    ended: list[tuple[int, int]] = []
    keepers.append(keeper := Keeper(command(WAITS), backoff=QUICK, on_end=lambda *end: ended.append(end)))
    first = int(await keeper.start())
    assert keeper.pid == first
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: keeper.pid not in (None, first))
    second = keeper.pid
    assert second is not None
    await keeper.stop(GRACE)
    assert not alive(second)
    assert ended == [(first, -signal.SIGKILL), (second, -signal.SIGTERM)]
    (line,) = map(json.loads, output.getvalue().splitlines())
    assert line["level"] == "warning"
    assert (line["pid"], line["status"], line["how"]) == (first, -9, "was killed by SIGKILL")


@pytest.mark.parametrize("status", [1, 2])
async def test_a_first_start_that_fails_is_final(keepers: list[Keeper], status: int) -> None:
    keepers.append(keeper := Keeper(command(f"import sys; sys.exit({status})"), backoff=QUICK))
    with pytest.raises(
        ChildFailed, match=f"example could not start: it ended with status {status}"
    ) as caught:
        await keeper.start()
    assert caught.value.status == status


async def test_a_first_start_that_was_killed_is_tried_again(keepers: list[Keeper], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = (
        f"import os\nif not os.path.exists({str(mark)!r}):\n"
        f"    os.close(os.open({str(mark)!r}, os.O_CREAT)); os.kill(os.getpid(), 9)\n"
    )
    keepers.append(keeper := Keeper(command(program + WAITS), backoff=QUICK))
    assert int(await keeper.start()) == keeper.pid


async def test_a_later_start_that_fails_is_tried_again(
    keepers: list[Keeper], tmp_path: Path, output: io.StringIO
) -> None:
    mark = tmp_path / "mark"
    program = f"import os\nif os.path.exists({str(mark)!r}):\n    os.unlink({str(mark)!r}); os._exit(2)\n"
    keepers.append(keeper := Keeper(command(program + WAITS), backoff=QUICK))
    first = int(await keeper.start())
    mark.touch()
    os.kill(first, signal.SIGTERM)
    await eventually(lambda: not mark.exists() and '"status": 2' in output.getvalue())
    failed = [json.loads(line)["pid"] for line in output.getvalue().splitlines()]
    await eventually(lambda: keeper.pid not in (first, *failed))
    assert alive(keeper.pid or 0)


async def test_a_program_that_vanished_is_looked_for_again(
    keepers: list[Keeper], tmp_path: Path, output: io.StringIO
) -> None:
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    environ = {"PATH": os.environ["PATH"]}
    keepers.append(
        keeper := Keeper(Command("example", [str(program), "-S", "-c", WAITS], environ), backoff=QUICK)
    )
    first = int(await keeper.start())
    program.unlink()
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: "a child process cannot be started" in output.getvalue())
    program.symlink_to(sys.executable)
    await eventually(lambda: keeper.pid != first)


async def test_a_program_that_is_not_there_at_first_is_final(keepers: list[Keeper]) -> None:
    keepers.append(keeper := Keeper(Command("example", ["/nonexistent"], {}), backoff=QUICK))
    with pytest.raises(StartupError, match="example cannot be started"):
        await keeper.start()


async def test_to_stop_while_it_starts_leaves_nothing_running(keepers: list[Keeper]) -> None:
    keepers.append(keeper := Keeper(command("import signal; signal.pause()")))
    starting = asyncio.create_task(keeper.start())
    await eventually(lambda: keeper.pid is not None)
    await keeper.stop(GRACE)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not alive(keeper.pid or 0)


async def test_to_stop_what_was_never_started_does_nothing() -> None:
    keeper = Keeper(command(WAITS))
    keeper.kill()
    await keeper.stop(GRACE)
    assert keeper.pid is None


async def test_to_kill_ends_it_at_once(keepers: list[Keeper]) -> None:
    keepers.append(keeper := Keeper(command(DEAF)))
    first = int(await keeper.start())
    keeper.kill()
    await eventually(lambda: not alive(first))


def test_the_wait_doubles_up_to_a_limit_and_begins_anew_after_a_long_life() -> None:
    backoff, brief = Backoff(timedelta(seconds=1), timedelta(seconds=3)), timedelta(0)
    waits = [backoff.after(None, brief)]
    for _ in range(3):
        waits.append(backoff.after(waits[-1], brief))
    assert [wait.total_seconds() for wait in waits] == [1, 2, 3, 3]
    assert backoff.after(waits[-1], timedelta(seconds=3)) == timedelta(seconds=1)


def test_how_a_process_ended_is_said_in_words() -> None:
    assert how_it_ended(2) == "ended with status 2"
    assert how_it_ended(-15) == "was killed by SIGTERM"
    assert how_it_ended(-300) == "was killed by signal 300"
