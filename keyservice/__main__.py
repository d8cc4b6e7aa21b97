"""Runs KeyService, ``python -m keyservice``: reads from top to bottom, and builds every object once."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from keyservice.settings import KeyServiceSettings
from servicekit import command_line, logs

if TYPE_CHECKING:
    from servicekit.database.options import DatabaseOptions


async def serve(settings: KeyServiceSettings, shares_port: bool) -> None:
    # Imported here, because the parent of workers, which runs this file too, must never load gRPC.
    from keyservice.attempts import Attempts
    from keyservice.audit_sealing import AuditSealer
    from keyservice.balances import Balances
    from keyservice.bridge import Bridge, connect_bridge
    from keyservice.bridge_health import BridgeHealth
    from keyservice.bridge_watch import BridgeWatch
    from keyservice.clients import Clients
    from keyservice.conflicts import CONFLICTS
    from keyservice.convergence import Convergence
    from keyservice.convergence_loop import ConvergenceLoop
    from keyservice.custody import Custody
    from keyservice.ending import Ending
    from keyservice.housekeeping import Housekeeping
    from keyservice.keyring import open_keyring
    from keyservice.models import METADATA
    from keyservice.paging import PageTokens
    from keyservice.reinitialization import Reinitialization
    from keyservice.rolling_check import RollingCheck
    from keyservice.servicer import KeyServicer, UseCases
    from keyservice.v1 import key_service_pb2
    from keyservice.verification import Verification
    from keyservice.watching import Watching
    from servicekit import startup
    from servicekit.catalogue import Catalogue
    from servicekit.loops import background
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
        bridge = Bridge(channel)
        ending = Ending()
        watching = Watching(database, ending, _directly(database.options, settings))
        convergence = Convergence(
            database,
            keyring,
            bridge,
            watching,
            Attempts(metrics.registry),
            inline_wait=settings.inline_bridge_wait,
            bridge_timeout=settings.bridge_timeout,
        )
        erase_at_once = not settings.erase_after
        wait = settings.inline_bridge_wait
        use_cases = UseCases(
            clients=Clients(database, keyring, convergence, erase_at_once=erase_at_once),
            custody=Custody(database, keyring, catalogue, convergence, erase_at_once=erase_at_once),
            reinitialization=Reinitialization(
                database, convergence, ending, most_of_one=settings.principal_reinitializations
            ),
            verification=Verification(database, bridge, convergence),
            watching=watching,
            balances=Balances(database, bridge, convergence.repair, wait=wait),
            health=BridgeHealth(database, bridge, wait=wait),
        )
        servicer = KeyServicer(use_cases, catalogue, PageTokens(keyring))
        service = Service(key_service_pb2.DESCRIPTOR.services_by_name["KeyService"], servicer)
        options = startup.server_options(settings, shares_port=shares_port)
        server = Server([service], options, metrics=metrics, authorizer=startup.authorizer(settings))
        loops = (
            Housekeeping(database, erase_after=settings.erase_after).run,
            ConvergenceLoop(database, convergence, at_once=settings.bridge_calls_at_once).run,
            BridgeWatch(database, bridge, convergence).run,
            RollingCheck(database, bridge, convergence, every=settings.bridge_check_interval).run,
            AuditSealer(database, keyring, every=settings.audit_seal_interval, registry=metrics.registry).run,
            watching.tell_others,
            watching.listen,
        )
        ending.begins_with(server.draining)
        serving = startup.serving(server, settings, metrics, ready=database.ready)
        # Claims are renewed for as long as somebody is at work under them, which is longer than calls are taken.
        renewal = background(convergence.renew_claims)
        async with watching, renewal, convergence, serving as stop, background(*loops):
            await stop.wait()


def _directly(options: "DatabaseOptions", settings: KeyServiceSettings) -> "DatabaseOptions":
    """How to reach the database past a pooler, where one stands before it."""
    from servicekit.database.url import parse_url

    if settings.listen_database_url is None:
        return options
    name = settings.variable("listen_database_url")
    return replace(options, url=parse_url(settings.listen_database_url.get_secret_value(), name=name))


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
