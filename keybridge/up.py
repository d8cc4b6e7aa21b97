"""The all-in-one: a private PostgreSQL, its schema, and both services, until Ctrl-C.

The services are the same processes that a deployment runs. Each is told its database by a variable and
migrates when it starts; one that dies is started again.
"""

import asyncio
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Never

from bridgeservice.settings import BridgeServiceSettings
from keybridge.home import Surroundings, home_directory, surroundings
from keybridge.identities import Identities
from keybridge.interruption import Undo
from keyservice.settings import KeyServiceSettings
from servicekit import config, logs, ports
from servicekit.children import ChildFailed, Command, Keeper
from servicekit.config import Address
from servicekit.database.named import database_url
from servicekit.embedded_postgres import EmbeddedPostgres

_SLACK = timedelta(seconds=5)
# The services of an `up` that was killed end by themselves, but not at once.
_PATIENCE_WITH_PORTS = 5.0

_LOOK_EVERY = 1.0

Say = Callable[[str], None]

_log = logs.get(__name__)


async def up(environ: Mapping[str, str], say: Say, undo: Undo) -> int:
    """Start everything, keep it running until cancelled, stop everything; return the exit status."""
    identities = Identities(home_directory(environ), environ)
    try:
        async with surroundings({**environ, **identities.variables}, undo) as home:
            return await _run_services(home, identities, say, undo)
    except asyncio.CancelledError:
        # To be stopped is how this command ends.
        say("Stopped.")
        return 0


async def _run_services(home: Surroundings, identities: Identities, say: Say, undo: Undo) -> int:
    keyservice = config.load(KeyServiceSettings, home.environ)
    bridgeservice = config.load(BridgeServiceSettings, home.environ)
    logs.configure(keyservice.log_level, keyservice.log_format)
    say(f"PostgreSQL      {database_url(keyservice).where}")
    for settings in (bridgeservice, keyservice):
        await _wait_until_free(settings.listen, say)
    if identities.needed:
        await asyncio.to_thread(identities.renew)
        say(f"Admin token     {identities.admin_token_file}")
    environ = _introduced(home.environ, ports.chosen(bridgeservice.listen))
    keepers = [Keeper(_command(name, environ)) for name in ("bridgeservice", "keyservice")]
    undo += [keeper.kill for keeper in keepers]
    try:
        bridge_address, key_address = await asyncio.gather(*(keeper.start() for keeper in keepers))
        say(f"TradingBridge   {bridge_address}, SERVING")
        say(f"KeyService      {key_address}, SERVING")
        say(_hints(keyservice, identities, key_address, bridge_address))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(identities.keep_renewed())
            tasks.create_task(_watch(home.postgres))
    except ChildFailed as failure:
        return failure.status
    except asyncio.CancelledError:
        say("Stopping.")
        raise
    finally:
        # The one that calls the other goes first.
        grace = max(each.drain_delay + each.shutdown_grace for each in (keyservice, bridgeservice)) + _SLACK
        for keeper in reversed(keepers):
            await keeper.stop(grace)


async def _watch(postgres: EmbeddedPostgres | None) -> Never:
    """Services that die are their keepers' business; a PostgreSQL of our own that dies is ours."""
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        if postgres is not None and await asyncio.to_thread(postgres.revive):
            _log.warning("the private PostgreSQL died and was started again")


def _introduced(environ: Mapping[str, str], bridge: Address) -> Mapping[str, str]:
    """The variables with which KeyService finds the bridge, which keeps its port when it is started again."""
    target, listen = KeyServiceSettings.variable("bridge_target"), BridgeServiceSettings.variable("listen")
    return {target: str(bridge), **environ, listen: str(bridge)}


def _command(name: str, environ: Mapping[str, str]) -> Command:
    migrate = f"{name.upper()}_MIGRATE_ON_START"
    return Command(name, [sys.executable, "-m", name], {migrate: "true", **environ})


async def _wait_until_free(address: Address, say: Say) -> None:
    """Give the services of an `up` that was killed the time to notice it."""
    until = time.monotonic() + _PATIENCE_WITH_PORTS
    told = False
    while ports.in_use(address):
        if time.monotonic() > until:
            ports.require_free(address)
        if not told:
            say(f"Waiting for {address} to become free.")
            told = True
        await asyncio.sleep(0.05)


def _hints(
    settings: KeyServiceSettings, identities: Identities, key_address: str, bridge_address: str
) -> str:
    if settings.tls_cert_file or not settings.reflection_enabled:
        return "\nCtrl-C stops everything.\n"
    token = shlex.quote(str(identities.admin_token_file))
    caller = f'-H "authorization: Bearer $(cat {token})" ' if identities.needed else ""
    return f"""
Try it, in another terminal:
  grpcurl -plaintext {key_address} grpc.health.v1.Health/Check
  grpcurl -plaintext {key_address} list
  grpcurl -plaintext {bridge_address} describe bridgeservice.v1.TradingBridge
  grpcurl -plaintext {caller}-d '{{}}' {key_address} keyservice.v1.KeyService/ListClients
  grpcurl -plaintext {caller}{bridge_address} bridgeservice.v1.TradingBridge/GetBridgeInfo

Ctrl-C stops everything.
"""
