"""A process that begins and ends in the way that its first argument names."""

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

from servicekit import logs, process
from servicekit.errors import SettingsError, StartupError, Unavailable


def mark(suffix: str = "") -> None:
    Path(os.environ["EXAMPLE_MARK"]).with_suffix(suffix).touch()


def farewell() -> None:
    os.write(2, b"at once\n")


async def environment() -> None:
    raise StartupError("the database cannot\nbe reached")


async def midway() -> None:
    raise Unavailable("The database does not answer.")


async def settings() -> None:
    raise SettingsError("EXAMPLE_LISTEN is odd")


async def group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(environment())


async def unforeseen() -> None:
    int(secrets.token_hex() + "secret")


async def early_line() -> None:
    secret = secrets.token_hex()
    try:
        int(secret + "secret")
    except ValueError:
        logs.get("example").exception("a line before the settings")


async def status() -> int:
    return 7


async def early() -> None:
    mark()
    await asyncio.Event().wait()


async def wait() -> None:
    with process.stop_signal() as stop:
        process.announce_ready("here I am")
        mark()
        sys.stderr.write(f"stopped by {await stop.wait()}\n")


async def stubborn() -> None:
    with process.stop_signal(at_once=farewell) as stop:
        mark()
        await stop.wait()
        mark(".stopping")
        await asyncio.Event().wait()


async def loop() -> None:
    sys.stderr.write(type(asyncio.get_running_loop()).__module__)


# As at a terminal: a shell that runs the tests in the background has it ignored, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(process.run(globals()[sys.argv[1]], program="example"))
