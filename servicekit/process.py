"""How a process of ours begins and ends: its event loop, its exit status, what stops it and whom it tells.

A parent holds two pipes of a child. The lifeline says nothing: when it ends, the parent is gone and the child
stops by itself. On the other the child says once that it is ready.
"""

import asyncio
import gc
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Self

import structlog
import uvloop

from servicekit import logs
from servicekit.errors import Internal, KeybridgeError, SettingsError, StartupError

LIFELINE_VARIABLE = "KEYBRIDGE_LIFELINE_FD"
READY_VARIABLE = "KEYBRIDGE_READY_FD"

# A terminal that is closed says SIGHUP.
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_INTERRUPTED = 128 + signal.SIGINT
_UNFORESEEN = 1


def run(main: Callable[[], Coroutine[Any, Any, int | None]], *, program: str) -> int:
    """Run ``main`` on uvloop and return the exit status. What cannot start says why in one sentence."""
    if not structlog.is_configured():
        # Until ``main`` knows its settings: structlog's own default prints local variables, to standard output.
        logs.configure()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(main()) or 0
    except KeyboardInterrupt:  # before ``main`` asked for the stop signal
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost boundary: nobody else can turn it into a status
        return report(error, program)


@contextmanager
def starting() -> Iterator[None]:
    """Look for no garbage until ``started``: what a start makes stays, and to look through it again and again as it
    grows takes a fifth of the start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def started() -> None:
    """Look for garbage from now on, where that was put off; never in what the start has made, during which no call
    would be served.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def announce_ready(message: str = "", environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell the parent that this process is at work, with a line for it, where there is such a parent."""
    fd = _inherited_pipe(READY_VARIABLE, environ)
    if fd is None:
        return
    try:
        os.write(fd, f"{message}\n".encode())
    except BrokenPipeError:
        pass  # the parent is gone, which is for the lifeline to tell
    finally:
        os.close(fd)


def stop_signal(
    at_once: Callable[[], None] | None = None, environ: MutableMapping[str, str] = os.environ
) -> "StopSignal":
    """Begin to listen for what stops this process. Called within the loop; also a context manager.

    A second signal ends the process at once; ``at_once`` is called before, for what must not be left behind.
    """
    return StopSignal(at_once, _inherited_pipe(LIFELINE_VARIABLE, environ))


class StopSignal:
    """Set by SIGTERM, SIGINT or SIGHUP, or by the end of the lifeline; ``reason`` says by which."""

    def __init__(self, at_once: Callable[[], None] | None, lifeline: int | None) -> None:
        self.reason = ""
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._at_once = at_once
        self._signalled = False
        self._lifeline = lifeline
        for signum in _STOPPING:
            self._loop.add_signal_handler(signum, self._on_signal, signum)
        if lifeline is not None:
            self._loop.add_reader(lifeline, self._on_lifeline, lifeline)

    async def wait(self) -> str:
        """Wait until the process has to stop; return the reason."""
        await self._event.wait()
        return self.reason

    def is_set(self) -> bool:
        """Whether the process has to stop."""
        return self._event.is_set()

    def set(self, reason: str) -> None:
        """Stop for a reason of one's own; the first reason stays."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def close(self) -> None:
        """Leave the signals to whoever had them, and the lifeline alone."""
        for signum in _STOPPING:
            self._loop.remove_signal_handler(signum)
        self._drop_lifeline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _on_signal(self, signum: signal.Signals) -> None:
        if self._signalled:  # pragma: no cover - it ends the process, and what was measured with it
            if self._at_once is not None:
                self._at_once()
            # To die of the signal tells the parent the truth, and runs nothing that could hang.
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        self._signalled = True
        self.set(signum.name)

    def _on_lifeline(self, fd: int) -> None:
        if os.read(fd, 4096):
            return  # a lifeline carries no news; only its end counts
        self._drop_lifeline()
        self.set("the parent process is gone")

    def _drop_lifeline(self) -> None:
        if self._lifeline is not None:
            self._loop.remove_reader(self._lifeline)
            os.close(self._lifeline)
            self._lifeline = None


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(logs.log_unhandled)
    return loop


def report(error: Exception, program: str) -> int:
    """Say on standard error why the process ends, and return its exit status."""
    foreseen = _foreseen(error)
    if foreseen is not None:
        _tell(program, str(foreseen))
        return foreseen.exit_status if isinstance(foreseen, StartupError) else StartupError.exit_status
    logs.get(__name__).critical("stopped by an error that nobody foresaw", exc_info=error)
    _tell(program, f"stopped by an error that nobody foresaw ({type(error).__name__}); the log says where")
    return _UNFORESEEN


def _foreseen(error: BaseException) -> StartupError | KeybridgeError | None:
    # A task group wraps what its tasks raise.
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _foreseen(each))), None)
    # A database that is lost while a command runs is an error of the tree, and its sentence is meant for people.
    if isinstance(error, KeybridgeError) and not isinstance(error, Internal):
        return error
    return error if isinstance(error, StartupError) else None


def _tell(program: str, sentence: str) -> None:
    sys.stderr.write(f"{program}: {' '.join(sentence.split())}\n")
    sys.stderr.flush()


def _inherited_pipe(variable: str, environ: MutableMapping[str, str]) -> int | None:
    # Taken out, and closed to programs that this one starts: their parent is another.
    text = environ.pop(variable, None)
    if text is None:
        return None
    try:
        fd = int(text)
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_inheritable(fd, False)
            return fd
    except (ValueError, OSError, OverflowError):
        pass
    raise SettingsError(f"{variable} should be the number of an inherited pipe, not {text!r}")
