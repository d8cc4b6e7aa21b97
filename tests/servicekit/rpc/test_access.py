"""Every call is logged and counted once, however it ends, and its content never is."""

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from servicekit.errors import NotFound
from servicekit.rpc.call import Call
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.v1 import policy_pb2
from tests.support.probe import (
    Echo,
    Probe,
    ProbeStub,
    eventually,
    failure,
    plain_channel,
    quick,
    raw_call,
    serving,
)


@dataclass
class Counts:
    started: list[str] = field(default_factory=list)
    finished: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def rpc_started(self, method: str) -> None:
        self.started.append(method)

    def rpc_finished(self, method: str, code: str, seconds: float) -> None:
        self.finished.append((method, code))
        self.seconds.append(seconds)

    def rpc_refused(self, method: str, reason: str) -> None:
        self.refused.append((method, reason))


GET = "/keybridge.probe.v1.Probe/GetEcho"
WATCH = "/keybridge.probe.v1.Probe/WatchEcho"


@pytest.fixture
def counts() -> Counts:
    return Counts()


async def test_a_call_is_one_line_with_its_facts_and_without_its_content(counts: Counts) -> None:
    secret = secrets.token_hex(16)
    with capture_logs() as logs:
        async with serving(metrics=counts) as server, plain_channel(server.port) as channel:
            await ProbeStub(channel).GetEcho(Echo(text=secret), metadata=(("x-request-id", "r-1"),))

    [line] = [each for each in logs if each["event"] == "rpc"]
    assert line["log_level"] == "info"
    assert (line["method"], line["code"], line["request_id"], line["principal"]) == (GET, "OK", "r-1", None)
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 < line["duration_ms"] < 5000
    assert secret not in repr(logs)
    assert (counts.started, counts.finished, counts.refused) == ([GET], [(GET, "OK")], [])
    assert counts.seconds[0] > 0


async def test_the_principal_is_named_in_the_line() -> None:
    class Knows:
        async def authorize(self, _call: Call, _policy: Policy) -> Principal | None:
            return Principal("alice", policy_pb2.ROLE_READER, None)

    with capture_logs() as logs:
        async with serving(authorizer=Knows()) as server, plain_channel(server.port) as channel:
            await ProbeStub(channel).GetEcho(Echo())

    assert [each["principal"] for each in logs] == ["alice"]


async def test_health_is_logged_at_debug() -> None:
    with capture_logs() as logs:
        async with serving() as server, plain_channel(server.port) as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    assert [(each["method"], each["log_level"]) for each in logs] == [
        ("/grpc.health.v1.Health/Check", "debug")
    ]


async def test_below_the_level_of_the_log_a_call_is_still_counted(counts: Counts) -> None:
    former = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        with capture_logs() as logs:
            async with serving(metrics=counts) as server, plain_channel(server.port) as channel:
                await ProbeStub(channel).GetEcho(Echo())
    finally:
        structlog.configure(**former)

    assert logs == []
    assert counts.finished == [(GET, "OK")]


async def test_a_refusal_is_counted_and_logged_with_its_code_and_its_reason(counts: Counts) -> None:
    async def answer(request: Any, call: Call) -> Any:
        raise NotFound("It is not there.", reason="ECHO_NOT_FOUND")

    with capture_logs() as logs:
        async with serving(Probe(answer), metrics=counts) as server, plain_channel(server.port) as channel:
            await failure(ProbeStub(channel).GetEcho(Echo()))

    assert (counts.finished, counts.refused) == ([(GET, "NOT_FOUND")], [(GET, "ECHO_NOT_FOUND")])
    [line] = [each for each in logs if each["event"] == "rpc"]
    assert (line["code"], line["reason"]) == ("NOT_FOUND", "ECHO_NOT_FOUND")


async def test_a_handler_s_own_abort_is_counted_with_its_code_and_arrives_as_it_is(counts: Counts) -> None:
    async def answer(request: Any, call: Call) -> Any:
        await call.context.abort(grpc.StatusCode.DATA_LOSS, "as it is")

    async with serving(Probe(answer), metrics=counts) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo(), metadata=(("x-request-id", "r-2"),)))

    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "as it is")
    assert counts.finished == [(GET, "DATA_LOSS")]


async def hanging(request: Any, call: Call) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", [GET, WATCH])
async def test_a_call_that_its_caller_gives_up_counts_as_cancelled(counts: Counts, path: str) -> None:
    async with serving(Probe(hanging), metrics=counts) as server, plain_channel(server.port) as channel:
        call: Any = getattr(ProbeStub(channel), path.rpartition("/")[2])(Echo())
        await eventually(lambda: counts.started == [path], "the call began")
        call.cancel()
        await eventually(lambda: counts.finished == [(path, "CANCELLED")], "the call ended as cancelled")


async def test_a_call_whose_caller_s_time_runs_out_counts_as_that(counts: Counts) -> None:
    async with serving(Probe(hanging), metrics=counts) as server, plain_channel(server.port) as channel:
        await failure(ProbeStub(channel).GetEcho(Echo(), timeout=0.2))
        await eventually(
            lambda: counts.finished == [(GET, "DEADLINE_EXCEEDED")], "the call ended by its deadline"
        )


async def test_an_unknown_method_is_counted_under_one_name(counts: Counts) -> None:
    async with serving(metrics=counts) as server, plain_channel(server.port) as channel:
        for number in range(3):
            await failure(raw_call(channel, f"/made.up.Service/Method{number}", b""))

    assert counts.started == ["unknown"] * 3
    assert counts.finished == [("unknown", "UNIMPLEMENTED")] * 3


async def test_a_stream_that_outlives_the_grace_is_cancelled_and_counted(counts: Counts) -> None:
    options = quick(shutdown_grace=timedelta(milliseconds=50))
    async with (
        serving(Probe(hanging), options, metrics=counts) as server,
        plain_channel(server.port) as channel,
    ):
        call = ProbeStub(channel).WatchEcho(Echo())
        await eventually(lambda: counts.started == [WATCH], "the call began")
        await server.stop()
        await eventually(lambda: counts.finished == [(WATCH, "CANCELLED")], "the call ended as cancelled")
        call.cancel()
