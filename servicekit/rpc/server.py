"""The gRPC server of a service: what it listens on, its limits, and how it begins and ends."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import grpc

from servicekit import ports
from servicekit.errors import StartupError
from servicekit.rpc.access import Access, Metrics, NoMetrics
from servicekit.rpc.admission import Admission
from servicekit.rpc.binding import Router, Service
from servicekit.rpc.failures import Errors
from servicekit.rpc.health import HEALTH, Health, health_service
from servicekit.rpc.interceptors import Authorisation, Authorizer, Chain, Deadline, Open, RequestId
from servicekit.rpc.messages import Messages
from servicekit.rpc.policy import PUBLIC, Policy
from servicekit.rpc.quota import Limits, Quota
from servicekit.rpc.reflection import reflection_service
from servicekit.rpc.resets import Resets
from servicekit.rpc.tls import ServerTls, server_credentials
from servicekit.values import Address

# What was on the wire when the last call ended is still refused in our words, and not in gRPC's.
_SETTLING = 0.05
# So long may a client take for its part of TLS and of HTTP/2's greeting. Until it has acknowledged ours, it is not
# bound to our limits of headers.
_GREETING = timedelta(seconds=10)
# So long a connection may be open without a call.
_IDLE = timedelta(minutes=5)
# After so long without traffic the server asks whether the client is still there, and closes the connection
# when it is not told.
_KEEPALIVE_TIME = timedelta(seconds=60)
_KEEPALIVE_TIMEOUT = timedelta(seconds=20)
# A client that pings an idle connection more often than this gets a strike, and is sent away after two.
_MIN_PING_INTERVAL = timedelta(seconds=10)
_MAX_PING_STRIKES = 2
_QUIET = frozenset({HEALTH.full_name})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a deployment may set. The settings have the defaults, so that there is one of each."""

    listen: Address
    """Port 0 takes a free one."""
    tls: ServerTls | None
    """None serves in the clear."""
    reflection: bool
    """Whether the contracts can be asked for over the wire."""
    health_policy: Policy = PUBLIC
    """Who may ask for health."""
    reflection_policy: Policy = PUBLIC
    """Who may use reflection."""
    drain_delay: timedelta
    """How long calls are still taken once health says NOT_SERVING, until balancers have heard it."""
    shutdown_grace: timedelta
    """How long the calls begun may then take to finish, before they are cancelled."""
    default_deadline: timedelta
    """The time of a unary call whose caller gave none."""
    deadline_floor: timedelta
    """With less than this left a call is refused at once, since nobody would read the answer."""
    max_stream_age: timedelta
    """How long a stream is open, before its caller is told to call again."""
    limits: Limits
    """What one caller may use."""
    max_concurrent_rpcs: int
    """Calls served at a time in this process; beyond, RESOURCE_EXHAUSTED at once. Health does not count."""
    max_public_streams: int
    """Streams of health, and as many of reflection, that are open at a time where they are open to everybody; and calls
    of those two that are waited for, whose request has not come."""
    max_concurrent_streams: int
    """Calls at a time on one connection; beyond, the client's library waits."""
    max_connections: int
    """Connections at a time; one more is closed."""
    max_connection_age: timedelta
    """How old a connection may be, before its client is told to go on with another one."""
    max_request_bytes: int
    """The largest request message."""
    max_metadata_bytes: int
    """The largest headers of a call."""
    reuse_port: bool
    """Lets several processes listen on the port; otherwise one in use is noticed."""


class Server:
    """Serves contracts, and health for each of them.

    Built, started, declared serving and stopped once each.
    """

    def __init__(
        self,
        services: Sequence[Service],
        options: ServerOptions,
        *,
        metrics: Metrics | None = None,
        authorizer: Authorizer | None = None,
    ) -> None:
        self._options = options
        names = [service.name for service in services]
        self._health = Health(names)
        served = [*services, health_service(self._health, options.health_policy)]
        if options.reflection:
            served.append(reflection_service([*names, HEALTH.full_name], options.reflection_policy))
        self.draining = asyncio.Event()
        """Set when the stop begins: a stream that would go on for ever ends itself on it."""
        self._errors = Errors()
        self._admission = Admission(
            options.max_concurrent_rpcs, exempt=_QUIET, public_streams=options.max_public_streams
        )
        authorizer = authorizer or Open()
        self._messages = Messages(authorizer, public=options.max_public_streams)
        metrics = metrics or NoMetrics()
        self.chain = Chain(
            resets=Resets(metrics),
            request_id=RequestId(),
            access=Access(metrics, _QUIET),
            errors=self._errors,
            admission=self._admission,
            authorisation=Authorisation(authorizer),
            quota=Quota(options.limits, _QUIET, strangers=not options.listen.is_loopback),
            deadline=Deadline(
                options.default_deadline.total_seconds(),
                options.deadline_floor.total_seconds(),
                options.max_stream_age.total_seconds(),
                endless=_QUIET,
            ),
        )
        self.chain.check()
        self._server = grpc.aio.server(
            handlers=[Router(served, self.chain, self._messages)], options=channel_arguments(options)
        )
        self.port = 0
        self._stopped: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Health says NOT_SERVING until ``set_serving``."""
        credentials = server_credentials(self._options.tls) if self._options.tls else None
        address = self._options.listen
        await asyncio.to_thread(ports.require_free, address, shared=self._options.reuse_port)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(str(address))
            else:
                self.port = self._server.add_secure_port(str(address), credentials)
        except RuntimeError:
            raise StartupError(f"Cannot listen on {address}.") from None
        await self._server.start()

    async def set_serving(self) -> None:
        """Health says SERVING from now on."""
        self._health.set_serving()

    async def set_not_serving(self) -> None:
        """Health says NOT_SERVING until ``set_serving``; calls are taken all the same."""
        self._health.set_not_serving()

    async def stop(self) -> None:
        """Say NOT_SERVING, take calls for the drain delay, then refuse them while what has begun finishes.

        gRPC itself is stopped last, when no call is under way or the grace is over. Once only.
        """
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopped)

    async def _stop(self) -> None:
        self._health.end()
        self.draining.set()
        self._errors.drain()
        await asyncio.sleep(self._options.drain_delay.total_seconds())
        self._admission.close()
        self._messages.hurry()
        now = asyncio.get_running_loop().time
        over = now() + self._options.shutdown_grace.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(over):
                await self._admission.idle()
                await asyncio.sleep(_SETTLING)
        await self._server.stop(max(0.0, over - now()))


def channel_arguments(options: ServerOptions) -> list[tuple[str, int]]:
    """The options that gRPC itself enforces, by the names that it has for them."""
    return [
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.max_receive_message_length", options.max_request_bytes),
        # Two limits: above the first gRPC refuses some at random, above the second all. Equal, there is one
        # rule.
        ("grpc.max_metadata_size", options.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
        ("grpc.max_concurrent_streams", options.max_concurrent_streams),
        # gRPC counts a call that has ended until Python lets go of it. Without room for as many of those, who uses all
        # his places and calls again at each answer is refused.
        ("grpc.http2.max_deallocating_streams", options.max_concurrent_streams),
        ("grpc.max_allowed_incoming_connections", options.max_connections),
        ("grpc.server_handshake_timeout_ms", _milliseconds(_GREETING)),
        ("grpc.http2.settings_timeout", _milliseconds(_GREETING)),
        ("grpc.max_connection_idle_ms", _milliseconds(_IDLE)),
        ("grpc.max_connection_age_ms", _milliseconds(options.max_connection_age)),
        # Every stream has come to its own age by then, and has said so.
        (
            "grpc.max_connection_age_grace_ms",
            _milliseconds(options.max_stream_age + options.default_deadline),
        ),
        ("grpc.keepalive_time_ms", _milliseconds(_KEEPALIVE_TIME)),
        ("grpc.keepalive_timeout_ms", _milliseconds(_KEEPALIVE_TIMEOUT)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(_MIN_PING_INTERVAL)),
        ("grpc.http2.max_ping_strikes", _MAX_PING_STRIKES),
    ]


def _milliseconds(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))
