"""Several processes of one service on one port, watched by a parent that serves nothing itself.

The kernel spreads connections over them (SO_REUSEPORT). The parent never imports grpc, whose threads do not
survive a fork; it holds the port, so that nobody else can take it while a worker is being replaced.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from servicekit import logs, metrics, ports, process
from servicekit.children import Backoff, ChildFailed, Command, Keeper
from servicekit.values import Address

_log = logs.get(__name__)

# Where workers keep their metrics; the lock says that their supervisor lives.
_FOLDER = "keybridge-metrics-"
_LOCK = "supervisor.lock"


def supervise(
    argv: Sequence[str],
    count: int,
    address: Address,
    *,
    program: str,
    listen_variable: str,
    environ: Mapping[str, str],
    grace: timedelta,
    metrics_listen: Address | None = None,
    backoff: Backoff | None = None,
) -> int:
    """Run ``count`` workers, each as ``argv --worker N``, until told to stop; return the exit status.

    A worker reads where to listen from ``listen_variable``, with the real port when ``address`` asked for
    any. One that fails in its first start stops all, and its status is returned. ``grace`` is all the
    time that a worker has to stop; after it, it is killed.
    """

    async def main() -> int:
        with ports.reserved(address) as bound, _aggregate(metrics_listen) as directory:
            seen = {**environ, listen_variable: str(bound)}
            seen.pop(metrics.DIRECTORY_VARIABLE, None)
            if directory is not None:
                seen[metrics.DIRECTORY_VARIABLE] = str(directory)
            keepers = [
                Keeper(
                    Command(f"{program} worker {number}", [*argv, "--worker", str(number)], seen),
                    backoff=backoff,
                    on_end=_forget_in(directory),
                )
                for number in range(1, count + 1)
            ]
            return await _run(keepers, bound, grace)

    return process.run(main, program=program)


async def _run(keepers: Sequence[Keeper], bound: Address, grace: timedelta) -> int:
    def kill_all() -> None:  # pragma: no cover - the process ends right after, and what was measured with it
        for keeper in keepers:
            keeper.kill()

    with process.stop_signal(at_once=kill_all) as stop:
        starting = asyncio.create_task(_start(keepers))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await starting
                process.announce_ready(str(bound))
                _log.info("workers are ready", address=bound, count=len(keepers))
            _log.info("stopping workers", reason=await stopping)
        except ChildFailed as error:
            return error.status
        finally:
            await asyncio.gather(*(keeper.stop(grace) for keeper in keepers))
            stopping.cancel()
            starting.cancel()
            await asyncio.wait({starting, stopping})
    return 0


async def _start(keepers: Sequence[Keeper]) -> None:
    # The first one alone: what keeps it from starting keeps all, and is to be said once.
    await keepers[0].start()
    await asyncio.gather(*(keeper.start() for keeper in keepers[1:]))


def _forget_in(directory: Path | None) -> Callable[[int, int], None] | None:
    if directory is None:
        return None

    def forget(pid: int, status: int) -> None:
        del status
        metrics.forget_worker(directory, pid)

    return forget


@contextlib.contextmanager
def _aggregate(address: Address | None) -> Iterator[Path | None]:
    """Serve the workers' metrics, where they are wanted; yield the folder for their files."""
    if address is None:
        yield None
        return
    _remove_what_was_left()
    directory = Path(tempfile.mkdtemp(prefix=_FOLDER))
    try:
        with _locked(directory), metrics.serve_workers(address, directory):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    fresh = directory / "fresh.lock"
    with fresh.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Nobody ever sees it by its name without it being held.
        fresh.rename(directory / _LOCK)
        yield


def _remove_what_was_left() -> None:
    """Remove the folders of supervisors that were killed: those of ours whose lock nobody holds any more."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        # One that has no lock may be just being made, and one of somebody else's is not ours to open.
        with contextlib.suppress(OSError):
            if directory.lstat().st_uid != os.getuid():
                continue
            with (directory / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
