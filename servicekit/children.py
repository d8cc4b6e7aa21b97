"""Child processes: started with a lifeline, heard when ready, stopped within a grace, replaced when they die.

A child is in a session of its own, so that Ctrl-C on the terminal reaches the parent only, which then stops
its children in the order that it likes. Its output goes where the parent's goes.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from servicekit import logs
from servicekit.errors import StartupError
from servicekit.process import LIFELINE_VARIABLE, READY_VARIABLE

_log = logs.get(__name__)

# What a child wrote before it ended may arrive after the news of its end.
_LAST_WORDS = 1.0


@dataclass(frozen=True)
class Command:
    """What to run: a name for log lines, the program with its arguments, and the variables that it sees."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Backoff:
    """The wait before a dead child is replaced: twice as long each time, until one lived for ``longest``."""

    first: timedelta = timedelta(milliseconds=100)
    longest: timedelta = timedelta(seconds=10)

    def after(self, previous: timedelta | None, lived: timedelta) -> timedelta:
        """The wait after a child that lived so long, the wait before it having been ``previous``."""
        return self.first if previous is None or lived >= self.longest else min(previous * 2, self.longest)


class ChildFailed(Exception):
    """A child ended with a status of failure before it was ready; it said itself why, on standard error."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} could not start: it {how_it_ended(status)}")
        self.name = name
        self.status = status


def how_it_ended(status: int) -> str:
    """Say an exit status in words; a negative one is a signal."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class Child:
    """One running process."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: int, ready: int) -> None:
        self.pid = process.pid
        self._process = process
        self.ended = asyncio.create_task(self._wait(lifeline))
        self.announced = asyncio.create_task(self._hear(ready))

    @classmethod
    async def start(cls, command: Command) -> Self:
        """Start it. What it needs to know of its parent is in its variables."""
        lifeline, kept = os.pipe()
        heard, ready = os.pipe()
        environ = {**command.environ, LIFELINE_VARIABLE: str(lifeline), READY_VARIABLE: str(ready)}
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=environ,
                pass_fds=(lifeline, ready),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException as error:
            os.close(kept)  # which also ends a process that was started just before a cancellation
            os.close(heard)
            if isinstance(error, OSError):
                raise StartupError(f"{command.name} cannot be started: {error.strerror}") from error
            raise
        finally:
            os.close(lifeline)
            os.close(ready)
        return cls(process, kept, heard)

    async def ready(self) -> str | None:
        """Wait for the line with which it says that it is ready, or for its end before that (None)."""
        await asyncio.wait({self.announced, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        if not self.announced.done():
            await asyncio.wait({self.announced}, timeout=_LAST_WORDS)
        if self.announced.done() and self.announced.result() is not None:
            return self.announced.result()
        await asyncio.wait({self.ended})
        return None

    async def stop(self, grace: timedelta) -> int:
        """Ask it to stop, and kill it when the grace is over; return its status."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self.ended}, timeout=grace.total_seconds())
        self.kill()
        return await self.ended

    def kill(self) -> None:
        """End it, and what it may have started itself, at once."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signum)

    async def _wait(self, lifeline: int) -> int:
        try:
            return await self._process.wait()
        finally:
            os.close(lifeline)

    async def _hear(self, fd: int) -> str | None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
        )
        try:
            line = await reader.readline()
        finally:
            transport.close()
        return line.decode(errors="replace").rstrip("\n") if line.endswith(b"\n") else None


class Keeper:
    """Keeps one command running: notices its death, says so, and starts it again after a while."""

    def __init__(
        self,
        command: Command,
        *,
        backoff: Backoff | None = None,
        on_end: Callable[[int, int], None] | None = None,
    ) -> None:
        """``on_end`` hears the pid and the status of every child that ended, asked to or not."""
        self.command = command
        self._backoff = backoff or Backoff()
        self._on_end = on_end
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._grace = timedelta(0)
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int | None:
        """The process of the moment, which may have ended already."""
        return self._child.pid if self._child else None

    async def start(self) -> str:
        """Start it; return what it said when it was ready. ``ChildFailed`` when it failed before."""
        self._task = asyncio.create_task(self._keep())
        return await asyncio.shield(self._ready)

    async def stop(self, grace: timedelta) -> None:
        """Stop it within the grace and keep it stopped. Nothing happens when it was never started."""
        self._grace = grace
        self._stopping.set()
        if self._task is not None:
            await self._task

    def kill(self) -> None:
        """End it at once, for a parent that ends at once itself."""
        if self._child is not None:
            self._child.kill()

    async def _keep(self) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        delay: timedelta | None = None
        try:
            while not self._stopping.is_set():
                born = asyncio.get_running_loop().time()
                await self._live(stopping)
                lived = timedelta(seconds=asyncio.get_running_loop().time() - born)
                delay = self._backoff.after(delay, lived)
                if self._ready.done() and self._ready.exception() is not None:
                    return
                await asyncio.wait({stopping}, timeout=delay.total_seconds())
        finally:
            stopping.cancel()
            self._ready.cancel()  # whoever still waits for the start

    async def _live(self, stopping: asyncio.Task[bool]) -> None:
        """Run one child from its start to its end."""
        try:
            child = self._child = await Child.start(self.command)
        except StartupError as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            _log.warning("a child process cannot be started", name=self.command.name, exc_info=error)
            return
        ready = asyncio.create_task(child.ready())
        await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
        message = ready.result() if ready.done() else None
        if message is not None and not self._ready.done():
            self._ready.set_result(message)
        await asyncio.wait({child.ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        unasked = child.ended.done() and not self._stopping.is_set()
        status = await child.stop(self._grace)
        await ready
        if self._on_end is not None:
            self._on_end(child.pid, status)
        if unasked:
            self._report(child.pid, status, was_ready=message is not None)

    def _report(self, pid: int, status: int, *, was_ready: bool) -> None:
        if status > 0 and not self._ready.done():
            self._ready.set_exception(ChildFailed(self.command.name, status))
            return
        _log.warning(
            "a child process died and is replaced",
            name=self.command.name,
            pid=pid,
            status=status,
            how=how_it_ended(status),
            was_ready=was_ready,
        )
