"""Runs TradingBridge, ``python -m bridgeservice``: reads from top to bottom, and builds every object once."""

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bridgeservice.models import METADATA
from bridgeservice.servicer import BridgeServicer
from bridgeservice.settings import BridgeServiceSettings
from bridgeservice.v1 import trading_bridge_pb2
from servicekit import command_line, logs, startup
from servicekit.metrics import Metrics
from servicekit.rpc.binding import Service
from servicekit.rpc.server import Server

_log = logs.get(__name__)

ONE_PROCESS_BECAUSE = (
    "the bridge keeps its connectors in memory, so a worker would not know the connectors of the others; "
    "run more bridges behind a balancer that hashes on the header x-keybridge-account"
)


async def serve(settings: BridgeServiceSettings, shares_port: bool) -> None:
    logs.configure(settings.log_level, settings.log_format)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        ready = None
        # In production the step is taken in any case: it refuses a database that nobody named.
        if startup.names_database(settings) or settings.environment == "production":
            database = await stack.enter_async_context(
                startup.open_database(settings, METADATA, name="bridgeservice")
            )
            metrics.watch_pool("bridgeservice", database.pool)
            ready = database.ready
        else:
            _log.warning("runs without a database: orders will be refused, and nothing is remembered")
        service = Service(trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"], BridgeServicer())
        options = startup.server_options(settings, shares_port=shares_port)
        server = Server([service], options, metrics=metrics)
        stop = await stack.enter_async_context(startup.serving(server, settings, metrics, ready=ready))
        await stop.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; return the exit status."""
    return command_line.main(
        "bridgeservice",
        BridgeServiceSettings,
        serve,
        about="TradingBridge: turns API keys into exchange connectors; balances, orders, market data.",
        one_process_because=ONE_PROCESS_BECAUSE,
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
