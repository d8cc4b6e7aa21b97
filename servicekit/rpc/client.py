"""The one way to be a client of a gRPC service: a channel whose every call has a deadline.

Reads are repeated while the server is not available, by gRPC itself and from the contract; writes never are.
The request id of the call that is being served goes along. Imports nothing of the server: this file is in the
client's install too.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from servicekit.errors import StartupError
from servicekit.rpc.call import REQUEST_ID, current_call

Metadata = Sequence[tuple[str, str]]
Stub = TypeVar("Stub")

_READS = ("Get", "List")


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
    """A channel that stubs take, with a deadline, a request id and the caller's metadata on every call."""

    def __init__(
        self, channel: grpc.aio.Channel, options: ChannelOptions, metadata: Metadata | Callable[[], Metadata]
    ) -> None:
        self._channel = channel
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
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    # The four kinds of call. Generated stubs pass the method and its (de)serialisers, of types that only they
    # know.
    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded(self._channel.unary_unary(*args, **kwargs), self._timeout)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded(self._channel.unary_stream(*args, **kwargs), self._stream_timeout)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded(self._channel.stream_unary(*args, **kwargs), self._stream_timeout)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._guarded(self._channel.stream_stream(*args, **kwargs), self._stream_timeout)

    def _guarded(self, make: Callable[..., Any], default: float) -> Callable[..., Any]:
        def call(
            request: Any = None, *, timeout: float | None = None, metadata: Any = None, **kwargs: Any
        ) -> Any:
            if timeout is None:
                timeout = default
            if not timeout > 0:
                raise ValueError(f"A call needs a deadline in the future, not {timeout} s.")
            return make(request, timeout=timeout, metadata=self._with_own(metadata), **kwargs)

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
) -> Channel:
    """A channel to ``host:port`` (by DNS, calls spread over all addresses) or to any target of gRPC's.

    ``services`` are the contracts that are called on it, for the retries of their ``reads``. ``metadata``
    goes with every call; a callable is asked each time, for a token that expires.
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
        ("grpc.max_reconnect_backoff_ms", int(options.longest_reconnect.total_seconds() * 1000)),
        ("grpc.max_receive_message_length", options.max_response_bytes),
        # Services speak to each other directly; a proxy set for the web in the environment is not for them.
        ("grpc.enable_http_proxy", 0),
        # Closing a channel closes its connections, whoever else has one to the same place.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if tls is None:
        channel = grpc.aio.insecure_channel(resolved, options=arguments)
    else:
        if tls.server_name:
            arguments.append(("grpc.ssl_target_name_override", tls.server_name))
        channel = grpc.aio.secure_channel(resolved, _credentials(tls), options=arguments)
    return Channel(channel, options, metadata)


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
    return grpc.ssl_channel_credentials(roots, key, chain)
