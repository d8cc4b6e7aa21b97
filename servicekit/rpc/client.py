"""The one way to be a client of a gRPC service: a channel whose every call has a deadline.

Reads are repeated while the server is not available, by gRPC itself and from the contract; writes never are.
The request id of the call that is being served goes along. Imports nothing of the server: this file is in the
client's install too.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from servicekit.errors import StartupError
from servicekit.files import Watched
from servicekit.rpc.call import REQUEST_ID, current_call
from servicekit.rpc.pem import require_authorities, require_pair

Metadata = Sequence[tuple[str, str]]
Stub = TypeVar("Stub")

_READS = ("Get", "List")
_FIRST_RECONNECT_MS = 100
# How often files are looked at, in seconds.
_LOOK_EVERY = 1.0

# Not of servicekit.logs, which the client's install can't have; a service's log has its lines all the same.
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Whom the client trusts, and who it is."""

    ca_file: Path | None = None
    """The authorities that may have signed the server's certificate; None takes gRPC's own list."""
    cert_file: Path | None = None
    """The client's certificate chain, where the server asks for one; with ``key_file``."""
    key_file: Path | None = None
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one in the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOptions:
    """How calls are made on a channel."""

    timeout: timedelta = timedelta(seconds=30)
    """The deadline of a unary call that is given none."""
    stream_timeout: timedelta = timedelta(hours=1)
    """The deadline of a stream that is given none; a watcher then begins anew."""
    retry_attempts: int = 3
    """How often a read is tried in all while the server is UNAVAILABLE; 1 never repeats."""
    keepalive_time: timedelta = timedelta(seconds=30)
    """While calls are under way, a silent connection is tested this often."""
    keepalive_timeout: timedelta = timedelta(seconds=10)
    connections: int = 100
    """To one address, each opened when all others have as many calls under way as the server takes on one."""
    longest_reconnect: timedelta = timedelta(seconds=120)
    """How long it may take at most until the next try to connect to a server that is away."""
    max_response_bytes: int = 16 * 1024 * 1024


def is_read(method: MethodDescriptor) -> bool:
    """Whether repeating the call changes nothing: one answer, and a name that says it only looks."""
    streams = method.client_streaming or method.server_streaming
    return not streams and method.name.startswith(_READS)


class Channel(grpc.aio.Channel):
    """A channel that stubs take, with a deadline, a request id and the caller's metadata on every call.

    ``connections`` make the channel beneath, and another one when the files of TLS have changed.
    """

    def __init__(
        self,
        connections: "_Connections",
        options: ChannelOptions,
        metadata: Metadata | Callable[[], Metadata],
    ) -> None:
        self._connections = connections
        self._timeout = options.timeout.total_seconds()
        self._stream_timeout = options.stream_timeout.total_seconds()
        self._metadata = metadata

    def stub(self, stub_type: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        """A generated stub on this channel."""
        return stub_type(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Calls under way have this many seconds to finish."""
        await self._connections.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._connections.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._connections.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._connections.current().channel_ready()

    # The four kinds of call. Generated stubs pass the method and its (de)serialisers, of types that only they
    # know.
    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded("unary_unary", args, kwargs, self._timeout)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded("unary_stream", args, kwargs, self._stream_timeout)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded("stream_unary", args, kwargs, self._stream_timeout)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded("stream_stream", args, kwargs, self._stream_timeout)

    def _guarded(
        self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], default: float
    ) -> Callable[..., Any]:
        beneath = self._connections.current()
        make = getattr(beneath, kind)(*args, **kwargs)

        def call(
            request: Any = None, *, timeout: float | None = None, metadata: Any = None, **more: Any
        ) -> Any:
            if timeout is None:
                timeout = default
            if not timeout > 0:
                raise ValueError(f"A call needs a deadline in the future, not {timeout} s.")
            nonlocal beneath, make
            if (present := self._connections.current()) is not beneath:
                beneath, make = present, getattr(present, kind)(*args, **kwargs)
            return make(request, timeout=timeout, metadata=self._with_own(metadata), **more)

        return call

    def _with_own(
        self, given: Iterable[tuple[str, str | bytes]] | None
    ) -> tuple[tuple[str, str | bytes], ...]:
        own = self._metadata() if callable(self._metadata) else self._metadata
        metadata = (*(given or ()), *own)
        serving = current_call()
        if serving is None or any(key == REQUEST_ID for key, _ in metadata):
            return metadata
        return (*metadata, (REQUEST_ID, serving.request_id))


def connect(
    target: str,
    *services: ServiceDescriptor,
    tls: ClientTls | None = None,
    options: ChannelOptions | None = None,
    metadata: Metadata | Callable[[], Metadata] = (),
    reads: Callable[[MethodDescriptor], bool] = is_read,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> Channel:
    """A channel to ``host:port`` (by DNS, calls spread over all addresses) or to any target of gRPC's.

    ``services`` are the contracts that are called on it, for the retries of their ``reads``. ``metadata``
    goes with every call; a callable is asked each time, for a token that expires. ``interceptors`` are gRPC's own kind.
    """
    options = options or ChannelOptions()
    resolved = (
        target if "://" in target or target.startswith(("unix:", "ipv4:", "ipv6:")) else f"dns:///{target}"
    )
    arguments: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(services, options, reads))),
        ("grpc.max_connections_per_subchannel_cap", options.connections),
        ("grpc.keepalive_time_ms", int(options.keepalive_time.total_seconds() * 1000)),
        ("grpc.keepalive_timeout_ms", int(options.keepalive_timeout.total_seconds() * 1000)),
        # gRPC's own first pause is a second, in which a server that is just starting would look as if it were away.
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", int(options.longest_reconnect.total_seconds() * 1000)),
        ("grpc.max_receive_message_length", options.max_response_bytes),
        # Services speak to each other directly; a proxy set for the web in the environment is not for them.
        ("grpc.enable_http_proxy", 0),
        # Closing a channel closes its connections, whoever else has one to the same place.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if tls is not None and tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", tls.server_name))
    connections = _Connections(resolved, tls, arguments, options.stream_timeout, interceptors)
    return Channel(connections, options, metadata)


class _Connections:
    """The channel of gRPC's beneath ours. gRPC reads a client's certificate once, so a renewed one is another channel.

    Calls that have begun on the former one go on there. Files that can't be read leave it in use until they can.
    """

    def __init__(
        self,
        target: str,
        tls: ClientTls | None,
        arguments: Sequence[tuple[str, Any]],
        longest_call: timedelta,
        interceptors: Sequence[grpc.aio.ClientInterceptor],
    ) -> None:
        self._target = target
        self._tls = tls
        self._arguments = arguments
        self._longest_call = longest_call.total_seconds()
        self._interceptors = interceptors
        files = (tls.ca_file, tls.cert_file, tls.key_file) if tls else ()
        self._files = Watched(path for path in files if path)
        self._looked_at = monotonic()
        self._channel = self._connected()
        self._former: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    def current(self) -> grpc.aio.Channel:
        if monotonic() - self._looked_at >= _LOOK_EVERY:
            self._looked_at = monotonic()
            self._look()
        return self._channel

    async def close(self, grace: float | None) -> None:
        for closing, former in list(self._former.items()):
            closing.cancel()
            await former.close(grace)
        await self._channel.close(grace)

    def _look(self) -> None:
        renewed = self._files.take_up(self._connected, self._refused)
        if renewed is None:
            return
        closing = asyncio.create_task(self._close_later(self._channel))
        self._former[closing] = self._channel
        closing.add_done_callback(self._former.pop)
        self._channel = renewed

    def _refused(self, reason: str) -> None:
        _log.warning("the former TLS certificate of a client stays in use: %s", reason)

    async def _close_later(self, former: grpc.aio.Channel) -> None:
        # Not by a grace of gRPC's, which a close at once could no longer cut short.
        await asyncio.sleep(self._longest_call)
        await former.close()

    def _connected(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(
                self._target, options=self._arguments, interceptors=self._interceptors
            )
        return grpc.aio.secure_channel(
            self._target,
            _credentials(self._tls),
            options=self._arguments,
            interceptors=self._interceptors,
        )


def service_config(
    services: Iterable[ServiceDescriptor], options: ChannelOptions, reads: Callable[[MethodDescriptor], bool]
) -> dict[str, Any]:
    """Spread over all addresses, and repeat these contracts' reads while the server is not available."""
    attempts = options.retry_attempts
    names = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if reads(method)
    ]
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "connectionScaling": {"maxConnectionsPerSubchannel": options.connections},
    }
    if names and attempts > 1:
        retry = {
            "maxAttempts": attempts,
            "initialBackoff": "0.05s",
            "maxBackoff": "0.5s",
            "backoffMultiplier": 2,
            # The second is what gRPC answers, unasked, for a call that reached a server as it was stopped.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
        config["methodConfig"] = [{"name": names, "retryPolicy": retry}]
    return config


def _credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    try:
        roots, key, chain = (
            path.read_bytes() if path else None for path in (tls.ca_file, tls.key_file, tls.cert_file)
        )
    except OSError as error:
        raise StartupError(f"The TLS file {error.filename} cannot be read: {error.strerror}.") from None
    if tls.ca_file:
        require_authorities(tls.ca_file)
    if tls.cert_file and tls.key_file:
        require_pair(tls.cert_file, tls.key_file)
    return grpc.ssl_channel_credentials(roots, key, chain)
