"""A worker to supervise: it answers every connection on the shared port with its number and its process id.

EXAMPLE_MODE: "fail" ends with EXAMPLE_STATUS before it is ready; "fail-again" does so once, when EXAMPLE_MARK
is there; "killed" dies of a signal in its first start, and leaves EXAMPLE_MARK; "deaf" hears no SIGTERM.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from servicekit import process
from servicekit.errors import StartupError
from servicekit.metrics import Metrics
from servicekit.values import Address


class StartFailedError(StartupError):
    exit_status = int(os.environ.get("EXAMPLE_STATUS", "1"))


def begin(mode: str, mark: Path) -> None:
    if mode == "fail":
        raise StartFailedError("the database is away")
    if mode == "fail-again" and mark.exists():
        mark.rename(mark.with_suffix(".seen"))
        raise StartFailedError("the database went away meanwhile")
    if mode == "killed" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    mode = os.environ.get("EXAMPLE_MODE", "")
    begin(mode, Path(os.environ.get("EXAMPLE_MARK", "/nonexistent")))
    metrics = Metrics()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        metrics.rpc_started("/example.v1.Example/Answer")
        metrics.rpc_finished("/example.v1.Example/Answer", "OK", 0.01)
        writer.write(f"{sys.argv[-1]} {os.getpid()}\n".encode())
        writer.close()

    address = Address.parse(os.environ["EXAMPLE_LISTEN"])
    with process.stop_signal() as stop, metrics.serve(Address("127.0.0.1", 0)):
        if mode == "deaf":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        server = await asyncio.start_server(answer, address.host, address.port, reuse_port=True)
        process.announce_ready()
        await stop.wait()
        server.close()
        await server.wait_closed()


sys.exit(process.run(main, program="example"))
