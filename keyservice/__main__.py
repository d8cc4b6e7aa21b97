"""Runs KeyService, ``python -m keyservice``: reads from top to bottom, and builds every object once."""

import sys
from collections.abc import Sequence

from keyservice.settings import KeyServiceSettings
from servicekit import command_line, logs


async def serve(settings: KeyServiceSettings, shares_port: bool) -> None:
    # Imported here, because the parent of workers, which runs this file too, must never load gRPC.
    from keyservice.balances import Balances, unrepaired
    from keyservice.bridge import Bridge, connect_bridge
    from keyservice.bridge_health import BridgeHealth
    from keyservice.clients import Clients
    from keyservice.conflicts import CONFLICTS
    from keyservice.custody import Custody
    from keyservice.housekeeping import Housekeeping
    from keyservice.keyring import open_keyring
    from keyservice.models import METADATA
    from keyservice.paging import PageTokens
    from keyservice.servicer import KeyServicer
    from keyservice.v1 import key_service_pb2
    from servicekit import startup
    from servicekit.catalogue import Catalogue
    from servicekit.metrics import Metrics
    from servicekit.rpc.binding import Service
    from servicekit.rpc.server import Server

    logs.configure(settings.log_level, settings.log_format)
    metrics = Metrics()
    async with (
        startup.open_database(settings, METADATA, name="keyservice", conflicts=CONFLICTS) as database,
        connect_bridge(settings) as channel,
    ):
        metrics.watch_pool("keyservice", database.pool)
        keyring = await open_keyring(database, settings.master_keys)
        catalogue = Catalogue.load()
        erase_at_once = not settings.erase_after
        bridge = Bridge(channel)
        wait = settings.inline_bridge_wait
        servicer = KeyServicer(
            Clients(database, keyring, erase_at_once=erase_at_once),
            Custody(database, keyring, catalogue, erase_at_once=erase_at_once),
            Balances(database, bridge, unrepaired, wait=wait),
            BridgeHealth(database, bridge, wait=wait),
            catalogue,
            PageTokens(keyring),
        )
        service = Service(key_service_pb2.DESCRIPTOR.services_by_name["KeyService"], servicer)
        options = startup.server_options(settings, shares_port=shares_port)
        server = Server([service], options, metrics=metrics)
        housekeeping = Housekeeping(database, erase_after=settings.erase_after)
        serving = startup.serving(server, settings, metrics, ready=database.ready)
        async with serving as stop, startup.background(housekeeping.run()):
            await stop.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; return the exit status."""
    return command_line.main(
        "keyservice",
        KeyServiceSettings,
        serve,
        about="KeyService: takes exchange API keys into custody, and gets them to work in the bridge.",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
