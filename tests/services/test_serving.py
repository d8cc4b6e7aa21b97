"""Both services as real processes: what they say of themselves, and how they begin and end."""

import asyncio
import os
import re
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from sqlalchemy import text

from servicekit.database import migrate, revisions
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.client import ClientTls, connect
from servicekit.rpc.status import from_rpc_error
from tests.support.certificates import Authority
from tests.support.grpcurl import paste
from tests.support.postgres import ThrowAwayPostgres
from tests.support.probe import eventually, failure, plain_channel, raw_call
from tests.support.service_process import ServiceProcess, StartService, accepts, free_port, raw_url

CONTRACTS = {"keyservice": "keyservice.v1.KeyService", "bridgeservice": "bridgeservice.v1.TradingBridge"}
# What each refuses when it is asked with an empty request, and how.
REFUSED = {
    "keyservice": ("GetBalances", "INVALID_ARGUMENT"),
    "bridgeservice": ("GetPortfolioHistory", "INVALID_ARGUMENT"),
}
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING

both = pytest.mark.parametrize("service", list(CONTRACTS))


@dataclass(frozen=True)
class Served:
    """A service that runs for all tests of this file, which only look at it."""

    name: str
    process: ServiceProcess
    metrics_port: int

    @property
    def contract(self) -> str:
        return CONTRACTS[self.name]

    @property
    def refused(self) -> str:
        return f"/{self.contract}/{REFUSED[self.name][0]}"


@pytest.fixture(scope="module")
def shared_database(postgres_server: ThrowAwayPostgres, migrated_template: str) -> Iterator[str]:
    """A database at head for the services that this file's tests share."""
    name = f"shared_{secrets.token_hex(6)}"
    postgres_server.sql(f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module", params=list(CONTRACTS))
def served(
    request: pytest.FixtureRequest, shared_database: str, start_shared_service: StartService
) -> Served:
    name, port = str(request.param), free_port()
    metrics = {f"{name.upper()}_METRICS_LISTEN": f"127.0.0.1:{port}"}
    process = start_shared_service(name, measured=True, DATABASE_URL=shared_database, **metrics)
    return Served(name, process.wait_ready(), port)


@pytest.fixture
async def channel(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    async with plain_channel(served.process.port) as channel:
        yield channel


async def health(channel: grpc.aio.Channel, name: str = "") -> "HealthCheckResponse.ServingStatus":
    stub: Any = HealthStub(channel)
    answer = await stub.Check(HealthCheckRequest(service=name), timeout=20)
    return answer.status


async def listed(channel: grpc.aio.Channel) -> set[str]:
    stub: Any = ServerReflectionStub(channel)
    asked = stub.ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]), timeout=20)
    return {each.name async for answer in asked for each in answer.list_services_response.service}


async def test_health_says_serving_for_the_service_and_for_the_server(
    served: Served, channel: grpc.aio.Channel
) -> None:
    assert [await health(channel, name) for name in ("", served.contract)] == [SERVING, SERVING]


async def test_reflection_lists_the_service(served: Served, channel: grpc.aio.Channel) -> None:
    names = {served.contract, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert await listed(channel) == names
    # With the tool that people use, where it is installed.
    address = served.process.address
    told = await asyncio.to_thread(paste, f"grpcurl -plaintext {address} list")
    assert set(told.split()) == names
    told = await asyncio.to_thread(paste, f"grpcurl -plaintext {address} grpc.health.v1.Health/Check")
    assert re.search(r'"status":\s*"SERVING"', told)


async def test_a_refusal_is_in_our_words(served: Served, channel: grpc.aio.Channel) -> None:
    told = from_rpc_error(await failure(raw_call(channel, served.refused, b"")))
    assert told.code.name == told.reason == REFUSED[served.name][1]
    assert told.message.startswith("The request is not valid: ")


async def test_the_request_id_comes_back_and_is_in_the_log(served: Served, channel: grpc.aio.Channel) -> None:
    given = f"test-{secrets.token_hex(8)}"
    make: Any = channel.unary_unary(served.refused)
    error = await failure(make(b"", metadata=(("x-request-id", given),), timeout=20))
    assert dict(error.trailing_metadata())["x-request-id"] == given
    served.process.wait_for_line(rf'"request_id": "{given}"')
    made = await failure(make(b"", timeout=20))
    assert re.fullmatch(r"[0-9a-f-]{36}", str(dict(made.trailing_metadata())["x-request-id"]))


async def test_the_metrics_page_counts_calls_and_shows_the_pool(
    served: Served, channel: grpc.aio.Channel
) -> None:
    service, (method, code) = served.contract, REFUSED[served.name]
    labels = f'grpc_code="{code}",grpc_method="{method}",grpc_service="{service}"'
    before = _number(await _page(served), f"grpc_server_handled_total{{{labels}}}")
    await failure(raw_call(channel, served.refused, b""))
    # A refusal is counted once it has been sent, and the caller may be the faster one.
    async with asyncio.timeout(20):
        while _number(page := await _page(served), f"grpc_server_handled_total{{{labels}}}") == before:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
    assert _number(page, f"grpc_server_handled_total{{{labels}}}") == before + 1
    assert _number(page, f'keybridge_database_pool_size{{pool="{served.name}"}}') == 20
    assert f'grpc_server_handling_seconds_bucket{{grpc_method="{method}"' in page


@both
async def test_nobody_is_let_in_before_the_schema_was_checked(
    service: str, start_service: StartService, database_url: DatabaseUrl
) -> None:
    port = free_port()
    listen = {f"{service.upper()}_LISTEN": f"127.0.0.1:{port}"}
    database = Database(DatabaseOptions(url=database_url))
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = to_regclass(:table)")
    async with database.transaction() as holder:
        await holder.execute(text(f"LOCK TABLE {revisions.VERSION_TABLE}"))
        process = start_service(service, DATABASE_URL=raw_url(database_url), **listen)
        async with asyncio.timeout(30):
            while not (await holder.execute(waiting, {"table": revisions.VERSION_TABLE})).scalar_one():  # noqa: ASYNC110 - inside PostgreSQL
                await asyncio.sleep(0.02)
        assert not accepts(port)
        assert process.process.poll() is None
    await database.close()
    await asyncio.to_thread(process.wait_ready)
    async with plain_channel(port) as channel:
        assert await health(channel, CONTRACTS[service]) == SERVING


@both
async def test_health_says_not_serving_while_the_service_drains(
    service: str, start_service: StartService, database_url: DatabaseUrl
) -> None:
    settings = {"DRAIN_DELAY": "3s"}  # in which all that follows the signal has the time to be seen
    variables = {f"{service.upper()}_{name}": value for name, value in settings.items()}
    process = start_service(service, DATABASE_URL=raw_url(database_url), **variables).wait_ready()
    async with plain_channel(process.port) as channel:
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(service=CONTRACTS[service]), timeout=60)
        assert (await watch.read()).status == SERVING
        process.terminate(signal.SIGINT)
        assert (await watch.read()).status == NOT_SERVING
        assert await health(channel) == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
    assert await asyncio.to_thread(process.status) == 0
    lines = await asyncio.to_thread(process.errors)
    assert [line for line in lines if '"stopping"' in line and '"SIGINT"' in line]
    assert '"stopped"' in lines[-1]


async def test_the_bridge_serves_without_a_database_when_none_is_named(start_service: StartService) -> None:
    process = start_service("bridgeservice", measured=True).wait_ready()
    async with plain_channel(process.port) as channel:
        assert await health(channel, CONTRACTS["bridgeservice"]) == SERVING
    process.terminate()
    assert await asyncio.to_thread(process.status) == 0


async def test_a_service_brings_the_schema_up_itself_when_told_to(
    start_service: StartService, empty_database_url: DatabaseUrl
) -> None:
    url = raw_url(empty_database_url)
    process = start_service("keyservice", DATABASE_URL=url, KEYSERVICE_MIGRATE_ON_START="true").wait_ready()
    assert await migrate.current(empty_database_url) == revisions.newest()
    process.terminate()
    assert process.status() == 0


def test_a_service_that_has_nothing_to_migrate_does_not_wait_for_what_migrates(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    told = {"KEYSERVICE_MIGRATE_ON_START": "true", "PYTHONPROFILEIMPORTTIME": "1"}
    process = start_service("keyservice", DATABASE_URL=raw_url(database_url), **told).wait_ready()
    process.terminate()
    assert not [line for line in process.errors() if re.search(r"\| +alembic\b", line)]


async def test_workers_share_a_port_are_replaced_when_killed_and_stop_together(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    metrics_port = free_port()
    variables = {
        "DATABASE_URL": raw_url(database_url),
        "KEYSERVICE_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
    }
    process = start_service("keyservice", "--workers", "2", **variables).wait_ready()
    workers = _children(process.pid)
    assert len(workers) == 2
    await _call(process.port)
    served = Served("keyservice", process, metrics_port)
    pages = [await _page(served)]
    async with asyncio.timeout(20):
        while _number(pages[-1], 'keybridge_database_pool_size{pool="keyservice"}') != 40:
            await asyncio.sleep(0.1)
            pages.append(await _page(served))

    # Each of them alone answers while the other is being replaced, and so does the one that replaced it.
    for number, worker in enumerate(sorted(workers), start=1):
        os.kill(worker, signal.SIGKILL)
        await asyncio.to_thread(process.wait_for_line, rf'"pid": {worker}, "status": -9\b')
        await _call(process.port)
        await _until_served(process, 2 + number)
    replaced = _children(process.pid)
    assert len(replaced) == 2
    assert not replaced & workers
    await _call(process.port)

    process.terminate()
    assert await asyncio.to_thread(process.status) == 0
    await asyncio.to_thread(process.errors)
    assert process.stdout() == b""
    assert not accepts(process.port)


def test_workers_end_when_their_parent_is_killed(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    process = start_service("keyservice", "--workers", "2", DATABASE_URL=raw_url(database_url)).wait_ready()
    assert len(_children(process.pid)) == 2
    process.terminate(signal.SIGKILL)
    process.errors()
    assert not accepts(process.port)


@both
async def test_tls_is_served_by_settings_and_client_certificates_are_asked_for(
    service: str, start_service: StartService, database_url: DatabaseUrl, tmp_path: Path
) -> None:
    authority, others = Authority("ours"), Authority("others")
    authority.write(tmp_path / "ca.pem")
    authority.issue("localhost").write(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.issue("friend").write(tmp_path / "friend.pem", tmp_path / "friend.key")
    others.issue("stranger").write(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    (tmp_path / "principals.json").write_text("{}")
    files = {
        "TLS_CERT_FILE": "cert.pem",
        "TLS_KEY_FILE": "key.pem",
        "TLS_CLIENT_CA_FILE": "ca.pem",
        "PRINCIPALS_FILE": "principals.json",
    }
    variables = {f"{service.upper()}_{name}": str(tmp_path / file) for name, file in files.items()}
    process = start_service(service, DATABASE_URL=raw_url(database_url), **variables).wait_ready()

    async def asked(name: str | None) -> object:
        own = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key") if name else (None, None)
        async with connect(f"127.0.0.1:{process.port}", tls=ClientTls(tmp_path / "ca.pem", *own)) as channel:
            return await health(channel, CONTRACTS[service])

    assert await asked("friend") == SERVING
    for nobody in ("stranger", None):
        error = await failure(asked(nobody))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert not from_rpc_error(error).ours
    async with plain_channel(process.port) as channel:
        assert (await failure(health(channel))).code() is grpc.StatusCode.UNAVAILABLE


async def _page(served: Served) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.metrics_port}/metrics", timeout=20) as page:
            return str(page.read().decode())

    return await asyncio.to_thread(read)


def _number(page: str, name: str) -> float:
    """The number that stands behind a name and labels; nothing counted yet is 0."""
    return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name} ")), 0)


async def _call(port: int) -> None:
    async with plain_channel(port) as channel:
        assert await health(channel, CONTRACTS["keyservice"]) == SERVING


async def _until_served(process: ServiceProcess, count: int) -> None:
    """Wait until so many workers have said that they serve."""
    said = '"event": "serving"'
    await eventually(lambda: process.stderr().count(said) == count, f"{count} workers served", 30)


def _children(pid: int) -> set[int]:
    """The running children of a process; one that only waits to be reaped is none."""
    told = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in told.stdout.splitlines()]
    return {int(child) for child, parent, state in rows if int(parent) == pid and not state.startswith("Z")}


def test_a_bridge_without_a_database_says_once_what_that_means(start_service: StartService) -> None:
    bridge = start_service("bridgeservice").wait_ready()
    bridge.terminate()
    said = "runs without a database: orders will be refused, and nothing is remembered"
    assert len([line for line in bridge.errors() if said in line and '"warning"' in line]) == 1
