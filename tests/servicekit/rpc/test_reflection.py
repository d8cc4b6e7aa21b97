"""Reflection tells of the contracts where it is on, and is not there where it is off."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from servicekit.rpc.reflection import REFLECTION
from servicekit.rpc.status import from_rpc_error
from tests.support.malformed import malformed_requests, send
from tests.support.probe import PROBE, eventually, failure, plain_channel, quick, serving


async def ask(channel: grpc.aio.Channel, *requests: ServerReflectionRequest) -> list[Any]:
    stub: Any = ServerReflectionStub(channel)
    return [each async for each in stub.ServerReflectionInfo(iter(requests))]


async def test_the_services_are_listed() -> None:
    async with serving(options=quick(reflection=True)) as server, plain_channel(server.port) as channel:
        [answer] = await ask(channel, ServerReflectionRequest(list_services=""))

    assert [each.name for each in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "keybridge.probe.v1.Probe",
    ]


async def test_a_contract_can_be_asked_for() -> None:
    symbol = ServerReflectionRequest(file_containing_symbol=PROBE.full_name)
    async with serving(options=quick(reflection=True)) as server, plain_channel(server.port) as channel:
        [answer] = await ask(channel, symbol)

    files = [
        FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert "keybridge/probe/v1/probe.proto" in [each.name for each in files]


async def test_it_is_off_unless_asked_for() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        stub: Any = ServerReflectionStub(channel)
        assert await stub.ServerReflectionInfo().code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture
def requests() -> Iterator[Any]:
    return malformed_requests(7, REFLECTION)


async def test_malformed_questions_are_never_our_fault(requests: Iterator[Any]) -> None:
    codes = set()
    async with serving(options=quick(reflection=True)) as server, plain_channel(server.port) as channel:
        for _ in range(500):
            codes.add(await send(channel, next(requests)))

    allowed = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes <= allowed


async def test_an_idle_stream_does_not_hold_up_a_stop() -> None:
    options = quick(reflection=True, shutdown_grace=timedelta(seconds=60))
    async with serving(options=options) as server, plain_channel(server.port) as channel:
        stub: Any = ServerReflectionStub(channel)
        idle = stub.ServerReflectionInfo()
        admission: Any = server.chain.admission
        await eventually(lambda: admission.serving == 1, "the stream was open")
        async with asyncio.timeout(20):
            await server.stop()
        told = from_rpc_error(await failure(idle.read()))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
