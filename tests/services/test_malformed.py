"""Ten thousand requests that no decent client sends, to each service: none of them is our fault, none hurts.

They go to the real processes, and to servers of the real contracts in which every method exists: so every
request type is really parsed, however many methods are built.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bridgeservice.v1 import trading_bridge_pb2
from keyservice.v1 import key_service_pb2
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.binding import Service
from servicekit.rpc.server import Server
from tests.support.malformed import Malformed, malformed_requests, send
from tests.support.probe import plain_channel, quick
from tests.support.service_process import StartService, raw_url

REQUESTS, CONNECTIONS, AT_A_TIME = 10_000, 4, 32
# Enough for every kind to meet every method of a complete servicer.
IN_PROCESS = 4_000
CONTRACTS = {
    "keyservice": key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
    "bridgeservice": trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"],
}
# What says "this is the server's fault"; the last one is what a crash or a hang looks like from outside.
OUR_FAULT = {
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
    StatusCode.DATA_LOSS,
    StatusCode.UNAVAILABLE,
    StatusCode.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED,
}
# What is never a valid message, whatever the contract says.
ALWAYS_WRONG = {"endless varint", "lying length", "stray group"}

Seen = Counter[tuple[str, str, StatusCode]]
each_service = pytest.mark.parametrize("service", list(CONTRACTS))


async def send_all(port: int, requests: Iterable[Malformed]) -> Seen:
    """Send them over several connections, many at a time; count by method, kind and status."""
    seen: Seen = Counter()
    waiting = iter(requests)

    async def sender(channel: grpc.aio.Channel) -> None:
        for request in waiting:
            seen[request.path, request.kind, await send(channel, request, 30)] += 1

    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(plain_channel(port)) for _ in range(CONNECTIONS)]
        await asyncio.gather(*(sender(channels[number % CONNECTIONS]) for number in range(AT_A_TIME)))
    return seen


def statuses(seen: Seen, *, kinds: set[str] | None = None) -> set[StatusCode]:
    return {status for (_, kind, status) in seen if kinds is None or kind in kinds}


@each_service
async def test_the_real_service_survives_them_and_blames_itself_for_none(
    service: str, start_service: StartService, database_url: DatabaseUrl
) -> None:
    contract, prefix = CONTRACTS[service], service.upper()
    process = start_service(
        service, DATABASE_URL=raw_url(database_url), **{f"{prefix}_LOG_LEVEL": "error"}
    ).wait_ready()
    seen = await send_all(process.port, islice(malformed_requests(1, contract), REQUESTS))
    assert seen.total() == REQUESTS
    assert len({path for path, _, _ in seen}) == len(contract.methods)
    assert not statuses(seen) & OUR_FAULT, seen

    async with plain_channel(process.port) as channel:
        stub: Any = HealthStub(channel)
        answer = await stub.Check(HealthCheckRequest(service=contract.full_name), timeout=20)
        assert answer.status == HealthCheckResponse.SERVING
    assert process.process.poll() is None
    process.terminate()
    assert await asyncio.to_thread(process.status) == 0
    assert await asyncio.to_thread(process.errors) == []


@each_service
async def test_every_request_type_is_refused_or_read_wherever_its_method_exists(service: str) -> None:
    contract = CONTRACTS[service]
    server = Server([Service(contract, complete(contract))], quick())
    await server.start()
    try:
        seen = await send_all(server.port, islice(malformed_requests(2, contract), IN_PROCESS))
    finally:
        await server.stop()
    assert seen.total() == IN_PROCESS
    answers = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED}
    assert statuses(seen) == answers, seen
    assert statuses(seen, kinds=ALWAYS_WRONG) == {StatusCode.INVALID_ARGUMENT}
    assert statuses(seen, kinds={"oversized"}) == {StatusCode.RESOURCE_EXHAUSTED}
    assert statuses(seen, kinds={"empty"}) == {StatusCode.OK}
    refused = {path for path, _, status in seen if status is StatusCode.INVALID_ARGUMENT}
    assert len(refused) == len(contract.methods)


def complete(contract: ServiceDescriptor) -> object:
    """A servicer with every method of a contract; each answers once, with an empty response."""
    methods = {method.name: _method(method) for method in contract.methods}
    return type("Complete", (), methods)()


def _method(method: MethodDescriptor) -> Callable[..., Any]:
    response = GetMessageClass(method.output_type)

    async def unary(_self: object, _request: Any, _call: object) -> Any:
        return response()

    async def stream(_self: object, _request: Any, _call: object) -> AsyncIterator[Any]:
        yield response()

    return stream if method.server_streaming else unary
