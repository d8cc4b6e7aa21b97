"""Hostile input on raw sockets: both services stay healthy, and answer a normal caller all the time.

How long he waits meanwhile is measured by ``benchmarks.hostile``; here it is only that he is answered.
"""

import asyncio
import resource
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.support import http2
from tests.support.attacks import ATTACKS
from tests.support.http2 import Connection
from tests.support.postgres import ThrowAwayPostgres
from tests.support.probe import plain_channel, raw_call
from tests.support.service_process import ServiceProcess, StartService

# A read of each service that needs no request.
READS = {
    "keyservice": "/keyservice.v1.KeyService/GetBridgeHealth",
    "bridgeservice": "/bridgeservice.v1.TradingBridge/GetBridgeInfo",
}
SECONDS = 2.0
CALLS = 20
# What a client may take to greet, and a little.
GREETING = 20.0


@dataclass(frozen=True)
class Served:
    """One of the services, which all attacks of this file come to one after the other."""

    process: ServiceProcess
    read: str


@pytest.fixture(scope="module")
def database(postgres_server: ThrowAwayPostgres, migrated_template: str) -> Iterator[str]:
    postgres_server.sql(f"CREATE DATABASE hostile TEMPLATE {migrated_template} STRATEGY file_copy")
    yield postgres_server.url("hostile")
    postgres_server.sql("DROP DATABASE hostile WITH (FORCE)")


@pytest.fixture(scope="module", params=list(READS))
def served(request: pytest.FixtureRequest, database: str, start_shared_service: StartService) -> Served:
    name = str(request.param)
    quiet = {f"{name.upper()}_LOG_LEVEL": "warning"}
    return Served(start_shared_service(name, DATABASE_URL=database, **quiet).wait_ready(), READS[name])


@pytest.fixture(autouse=True, scope="module")
def room_for_thousands() -> Iterator[None]:
    """An attacker's connections are files of this process, of which an ordinary user's may have few at first."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


@pytest.mark.parametrize("attack", list(ATTACKS))
async def test_a_normal_caller_is_answered_during_and_after_an_attack(served: Served, attack: str) -> None:
    over = threading.Event()
    attacking = asyncio.create_task(
        asyncio.to_thread(ATTACKS[attack], served.process.port, served.read, lambda: not over.is_set())
    )
    try:
        async with asyncio.timeout(90):
            await _ordinary_calls(served)
    finally:
        over.set()
    await attacking
    assert await _is_healthy(served)


def test_who_does_not_greet_in_time_is_sent_away(served: Served) -> None:
    port = served.process.port
    with ExitStack() as stack:
        silent = stack.enter_context(Connection(port, greet=False))
        half = stack.enter_context(Connection(port, greet=False))
        half.send(http2.PREFACE[:12])
        # Until it is acknowledged, gRPC does not hold a client to the server's settings.
        unacknowledged = stack.enter_context(Connection(port, acknowledge=False))
        assert [each.is_closed(GREETING) for each in (silent, half, unacknowledged)] == [True, True, True]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc")
async def test_the_memory_that_attacks_leave_behind_is_bounded(served: Served) -> None:
    before = _megabytes(served.process.pid)
    over = threading.Event()
    attacks = [
        asyncio.create_task(
            asyncio.to_thread(each, served.process.port, served.read, lambda: not over.is_set())
        )
        for each in (ATTACKS["rapid resets"], ATTACKS["continuation flood"], ATTACKS["ping flood"])
    ]
    await asyncio.sleep(SECONDS)
    over.set()
    await asyncio.gather(*attacks)
    assert await _is_healthy(served)
    assert _megabytes(served.process.pid) - before < 200


async def _ordinary_calls(served: Served) -> None:
    """Every one of them has to be answered well, spread over the attack."""
    async with plain_channel(served.process.port) as channel:
        for _ in range(CALLS):
            await raw_call(channel, served.read, b"")
            await asyncio.sleep(SECONDS / CALLS)


async def _is_healthy(served: Served) -> bool:
    assert served.process.process.poll() is None
    async with plain_channel(served.process.port) as channel:
        stub: Any = HealthStub(channel)
        answer = await stub.Check(HealthCheckRequest(), timeout=30)
        return bool(answer.status == HealthCheckResponse.SERVING)


def _megabytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 // 1024**2
