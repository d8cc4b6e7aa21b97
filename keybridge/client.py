"""The client of both services, which ``pip install keybridge`` brings: it needs nothing that only they need.

A service is its generated stub, on a channel of ``servicekit.rpc.client``: every call has a deadline, and reads are
repeated while the service is away. What a call is refused with is an error of ``servicekit.errors``.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.descriptor import ServiceDescriptor
from grpc.aio import AioRpcError, ClientInterceptor, UnaryStreamClientInterceptor, UnaryUnaryClientInterceptor

from bridgeservice.v1 import trading_bridge_pb2
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.v1 import key_service_pb2
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.rpc.client import Channel, ChannelOptions, ClientTls, Metadata, connect
from servicekit.rpc.status import from_rpc_error, to_error

if TYPE_CHECKING:
    # Known to the stubs only.
    from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeAsyncStub
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

__all__ = ["Access", "ChannelOptions", "ClientTls", "key_service", "trading_bridge"]


@dataclass(frozen=True, slots=True)
class Access:
    """How a service is reached, and who the caller is: the one place for both."""

    tls: ClientTls | None = None
    """None is for a service on the loopback that has no certificate."""
    metadata: Metadata | Callable[[], Metadata] = ()
    """Goes with every call; a callable is asked each time, for a token that expires."""
    options: ChannelOptions | None = None
    """Deadlines and the like, where they shall not be the usual ones."""

    @classmethod
    def with_token(cls, token_file: Path, tls: ClientTls | None = None) -> Self:
        """As whoever the token in this file is for; it is read for each call, so that the token can be renewed."""
        return cls(tls=tls, metadata=lambda: (("authorization", f"Bearer {token_file.read_text().strip()}"),))


@asynccontextmanager
async def key_service(target: str, access: Access | None = None) -> "AsyncIterator[KeyServiceAsyncStub]":
    """KeyService at ``host:port``."""
    async with _channel(target, key_service_pb2.DESCRIPTOR.services_by_name["KeyService"], access) as channel:
        yield channel.stub(KeyServiceStub)


@asynccontextmanager
async def trading_bridge(
    target: str, access: Access | None = None
) -> "AsyncIterator[TradingBridgeAsyncStub]":
    """TradingBridge at ``host:port``."""
    service = trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"]
    async with _channel(target, service, access) as channel:
        yield channel.stub(TradingBridgeStub)


def _channel(target: str, service: ServiceDescriptor, access: Access | None) -> Channel:
    access = access or Access()
    translators: tuple[ClientInterceptor, ...] = (_Answers(), _Streams())
    return connect(
        target,
        service,
        tls=access.tls,
        options=access.options,
        metadata=access.metadata,
        interceptors=translators,
    )


class _Answers(UnaryUnaryClientInterceptor):
    """Turns a refusal into an error of ours. What goes through is of whatever type the contract says."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = await continuation(client_call_details, request)
        try:
            await call
        except AioRpcError as error:
            raise to_error(from_rpc_error(error)) from error
        return call


class _Streams(UnaryStreamClientInterceptor):
    """The same for a stream, which may be refused at any time."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = await continuation(client_call_details, request)

        async def messages() -> AsyncIterator[Any]:
            try:
                async for message in call:
                    yield message
            except AioRpcError as error:
                raise to_error(from_rpc_error(error)) from error

        return messages()
