"""The probe's contract as a service of its own, started as ours are: ``python -m`` and this module.

Each call to GetEcho is noted in the file that PROBE_BEGUN names, with the process that serves it, and is
answered once that process gets SIGUSR1; one that says "stays" when it gets SIGUSR2.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic_settings import SettingsConfigDict

from servicekit import command_line, logs
from servicekit.config import Address, ServiceSettings


class ProbeServiceSettings(ServiceSettings):
    """The settings of the probe."""

    model_config = SettingsConfigDict(env_prefix="PROBE_SERVICE_")

    listen: Address = Address("127.0.0.1", 0)
    """The address that the probe answers on."""


def note(begun: Path) -> None:
    with begun.open("a") as notes:
        notes.write(f"{os.getpid()}\n")


async def serve(settings: ProbeServiceSettings, shares_port: bool) -> None:
    # Imported here for the reason that the key service has.
    from servicekit import startup
    from servicekit.metrics import Metrics
    from servicekit.rpc.binding import Service
    from servicekit.rpc.server import Server
    from tests.support.probe import PROBE, Echo, Probe

    logs.configure(settings.log_level, settings.log_format)
    begun = Path(os.environ["PROBE_BEGUN"])
    told, told_to_go = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, told_to_go.set)

    async def answer(request: Any, call: object) -> Any:
        note(begun)
        await (told_to_go if request.text == "stays" else told).wait()
        return Echo(text=request.text)

    metrics = Metrics()
    server = Server(
        [Service(PROBE, Probe(answer))],
        startup.server_options(settings, shares_port=shares_port),
        metrics=metrics,
    )
    async with startup.serving(server, settings, metrics) as stop:
        await stop.wait()


if __name__ == "__main__":
    sys.exit(command_line.main("tests.support.probe_service", ProbeServiceSettings, serve, about="A probe."))
