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
from typing import Final, Never

from bridgeservice.settings import BridgeServiceSettings
from keybridge.home import Surroundings, home_directory, surroundings
from keybridge.identities import Identities
from keybridge.interruption import Undo
from keyservice.settings import KeyServiceSettings
from servicekit import config, logs, ports
from servicekit.children import ChildFailed, Command, Keeper
from servicekit.config import Address, ServiceSettings
from servicekit.database.named import database_url
from servicekit.embedded_postgres import EmbeddedPostgres
from servicekit.loops import background

_SLACK = timedelta(seconds=5)
# The services of an `up` that was killed end by themselves, but not at once.
_PATIENCE_WITH_PORTS = 5.0

_LOOK_EVERY = 1.0

_GRPCURL = "grpcurl -plaintext"
_END = "\nCtrl-C stops everything.\n"
_SERVICES: Final[frozenset[type[ServiceSettings]]] = frozenset({KeyServiceSettings, BridgeServiceSettings})

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
    keepers = [Keeper(_command(service, environ)) for service in (BridgeServiceSettings, KeyServiceSettings)]
    undo += [keeper.kill for keeper in keepers]
    try:
        bridge_address, key_address = await asyncio.gather(*(keeper.start() for keeper in keepers))
        say(f"TradingBridge   {bridge_address}, SERVING")
        say(f"KeyService      {key_address}, SERVING")
        say(await _next_steps(home, keyservice, identities, key_address, bridge_address))
        async with background(identities.keep_renewed):
            await _watch(home.postgres)
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


def _command(service: type[ServiceSettings], environ: Mapping[str, str]) -> Command:
    """How to start a service, which is told nothing that is the other one's: no secret, and no file that holds one."""
    [other] = _SERVICES - {service}
    foreign = other.secret_variables() - service.secret_variables()
    seen = {
        variable: value
        for variable, value in environ.items()
        if not variable.startswith(other.prefix()) and variable.removesuffix("_FILE") not in foreign
    }
    name = service.prefix().rstrip("_")
    # A line for each call would soon have pushed what is shown here off the screen.
    own = {f"{name}_MIGRATE_ON_START": "true", f"{name}_LOG_LEVEL": "warning"}
    return Command(name.lower(), [sys.executable, "-m", name.lower()], {**own, **seen})


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


async def _next_steps(
    home: Surroundings, settings: KeyServiceSettings, identities: Identities, key: str, bridge: str
) -> str:
    """What to do next. A database that was named is somebody's own, and gets no demo client."""
    if settings.tls_cert_file or not settings.reflection_enabled:
        return _END
    # Health, reflection and what is in the contract anybody may ask for.
    token = identities.admin_token_file
    authorized = f'{_GRPCURL} -H "authorization: Bearer $(cat {shlex.quote(str(token))})"'
    shown, more = "", list[str]()
    if home.postgres is not None and identities.needed:
        # Imported only now, so that the services did not have to wait for gRPC in this process.
        from keybridge import demo

        shown, more = await demo.show(key, authorized, token)
    commands = [
        f"{_GRPCURL} {key} grpc.health.v1.Health/Check",
        f"{_GRPCURL} {key} list",
        *more,
        *([f"{authorized} {key} keyservice.v1.KeyService/GetBridgeHealth"] if identities.needed else []),
        f"{_GRPCURL} {bridge} describe bridgeservice.v1.TradingBridge",
    ]
    lines = "\n".join(f"  {command}" for command in commands)
    return f"{shown}\nTry it, in another terminal:\n{lines}\n{_END}"
