"""The steps of a start: each from settings, each undone when a later one fails."""

import asyncio
import io
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from pydantic_settings import SettingsConfigDict
from sqlalchemy import MetaData, text

from servicekit import config, startup
from servicekit.config import Address, ServiceSettings
from servicekit.database import engine, migrate, revisions
from servicekit.database.engine import Database
from servicekit.database.url import DatabaseUrl
from servicekit.errors import SettingsError, StartupError
from servicekit.metrics import Metrics
from servicekit.rpc.auth import Authenticated
from servicekit.rpc.binding import Service
from servicekit.rpc.interceptors import Open
from servicekit.rpc.policy import Policy
from servicekit.rpc.server import Server
from servicekit.rpc.tls import ServerTls
from servicekit.v1 import policy_pb2
from tests.support.issuer import Issuer
from tests.support.logged import lines
from tests.support.probe import PROBE, Echo, Probe, ProbeStub, plain_channel
from tests.support.service_process import accepts, free_port, raw_url


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    listen: Address = Address("127.0.0.1", 0)
    """The address that the example answers on."""


def settings(**environ: str) -> Settings:
    return config.load(Settings, environ)


def server_of(loaded: Settings, metrics: Metrics) -> Server:
    return Server(
        [Service(PROBE, Probe())], startup.server_options(loaded, shares_port=False), metrics=metrics
    )


def test_every_option_of_the_server_comes_from_its_setting(tmp_path: Path) -> None:
    options = startup.server_options(
        settings(
            EXAMPLE_LISTEN="0.0.0.0:7000",
            EXAMPLE_TLS_CERT_FILE=str(tmp_path / "cert"),
            EXAMPLE_TLS_KEY_FILE=str(tmp_path / "key"),
            EXAMPLE_TLS_CLIENT_CA_FILE=str(tmp_path / "ca"),
            EXAMPLE_PRINCIPALS_FILE=str(tmp_path / "principals"),
            EXAMPLE_HEALTH_ROLE="reader",
            EXAMPLE_REFLECTION_ROLE="bridge-writer",
            EXAMPLE_DRAIN_DELAY="3s",
            EXAMPLE_SHUTDOWN_GRACE="4s",
            EXAMPLE_DEFAULT_DEADLINE="5s",
            EXAMPLE_DEADLINE_FLOOR="6ms",
            EXAMPLE_MAX_CONCURRENT_RPCS="7",
            EXAMPLE_MAX_CONCURRENT_STREAMS="8",
            EXAMPLE_MAX_MESSAGE_BYTES="9000",
            EXAMPLE_MAX_METADATA_BYTES="10000",
        ),
        shares_port=True,
    )
    assert options.listen == Address.parse("0.0.0.0:7000")
    assert options.tls == ServerTls(tmp_path / "cert", tmp_path / "key", tmp_path / "ca")
    assert (options.reflection, options.reuse_port) == (False, True)
    assert options.health_policy == Policy(frozenset({policy_pb2.ROLE_READER}))
    assert options.reflection_policy == Policy(frozenset({policy_pb2.ROLE_BRIDGE_WRITER}))
    assert (options.drain_delay, options.shutdown_grace) == (timedelta(seconds=3), timedelta(seconds=4))
    assert options.default_deadline == timedelta(seconds=5)
    assert options.deadline_floor == timedelta(milliseconds=6)
    assert (options.max_concurrent_rpcs, options.max_concurrent_streams) == (7, 8)
    assert (options.max_request_bytes, options.max_metadata_bytes) == (9000, 10000)


@pytest.mark.parametrize("asked", [False, True])
async def test_where_nobody_has_to_say_who_he_is_the_log_says_so(
    output: io.StringIO, tmp_path: Path, asked: bool
) -> None:
    Issuer().write(tmp_path / "jwks.json")
    loaded = settings(**({"EXAMPLE_JWKS_FILE": str(tmp_path / "jwks.json")} if asked else {}))
    assert isinstance(startup.authorizer(loaded), Open) is not asked
    metrics = Metrics()
    async with startup.serving(server_of(loaded, metrics), loaded, metrics):
        pass
    told = [each for each in lines(output) if each["event"].startswith("callers are not asked who they are")]
    assert len(told) == (0 if asked else 1)


def test_the_files_of_the_settings_say_who_is_let_in(tmp_path: Path) -> None:
    issuer = Issuer()
    issuer.write(tmp_path / "jwks.json")
    (tmp_path / "principals.json").write_text("{}")
    (tmp_path / "denied.json").write_text("{}")
    tls = {f"EXAMPLE_TLS_{name}": "/f" for name in ("CERT_FILE", "KEY_FILE", "CLIENT_CA_FILE")}
    tokens = {
        "EXAMPLE_JWKS_FILE": str(tmp_path / "jwks.json"),
        "EXAMPLE_DENY_LIST_FILE": str(tmp_path / "denied.json"),
    }
    certificates = {**tls, "EXAMPLE_PRINCIPALS_FILE": str(tmp_path / "principals.json")}
    for ways in (tokens, certificates, tokens | certificates):
        assert isinstance(startup.authorizer(settings(**ways)), Authenticated)


def test_in_production_callers_say_who_they_are_on_the_loopback_too() -> None:
    with pytest.raises(SettingsError, match="EXAMPLE_JWKS_FILE or EXAMPLE_PRINCIPALS_FILE is required"):
        startup.authorizer(settings(KEYBRIDGE_ENV="production"))


def test_a_file_of_authentication_that_is_missing_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"The JWKS file .*absent can't be read: No such file"):
        startup.authorizer(settings(EXAMPLE_JWKS_FILE=str(tmp_path / "absent")))


async def test_a_server_starts_with_the_largest_sizes_that_the_settings_take() -> None:
    names = ("MAX_CONCURRENT_RPCS", "MAX_CONCURRENT_STREAMS", "MAX_MESSAGE_BYTES", "MAX_METADATA_BYTES")
    loaded = settings(**{f"EXAMPLE_{name}": str(2**31 - 1) for name in names})
    metrics = Metrics()
    server = server_of(loaded, metrics)
    async with startup.serving(server, loaded, metrics), plain_channel(server.port) as channel:
        assert (await ProbeStub(channel).GetEcho(Echo(text="x"))).text == "x"


def test_on_the_loopback_there_is_reflection_and_no_need_of_tls() -> None:
    options = startup.server_options(settings(), shares_port=False)
    assert (options.tls, options.reflection, options.reuse_port) == (None, True, False)
    assert not startup.server_options(settings(EXAMPLE_REFLECTION="false"), shares_port=False).reflection


async def test_a_database_that_is_as_expected_is_opened_with_the_options_of_the_settings(
    database_url: DatabaseUrl,
) -> None:
    loaded = settings(
        DATABASE_URL=raw_url(database_url),
        EXAMPLE_DB_POOL_SIZE="3",
        EXAMPLE_DB_MAX_OVERFLOW="2",
        EXAMPLE_DB_POOL_TIMEOUT="4s",
        EXAMPLE_DB_POOL_RECYCLE="5s",
        EXAMPLE_DB_POOL_PRE_PING="false",
        EXAMPLE_DB_STATEMENT_TIMEOUT="6s",
        EXAMPLE_DB_CONNECT_TIMEOUT="7s",
    )
    async with startup.open_database(loaded, MetaData(), name="an example") as database:
        options = database.options
        async with database.autocommit() as connection:
            name = (await connection.execute(text("SHOW application_name"))).scalar_one()
    assert name == "an example"
    assert (options.pool_size, options.max_overflow, options.pre_ping) == (3, 2, False)
    assert (options.pool_timeout, options.pool_recycle) == (timedelta(seconds=4), timedelta(seconds=5))
    assert (options.statement_timeout, options.connect_timeout) == (
        timedelta(seconds=6),
        timedelta(seconds=7),
    )
    assert database.pool.checkedin() == 0


async def test_a_schema_is_brought_up_only_when_the_settings_say_so(empty_database_url: DatabaseUrl) -> None:
    named = {"DATABASE_URL": raw_url(empty_database_url)}
    with pytest.raises(StartupError, match="has never been migrated by keybridge"):
        async with startup.open_database(settings(**named), MetaData(), name="x"):
            pytest.fail("it was opened")
    told = settings(**named, EXAMPLE_MIGRATE_ON_START="true")
    async with startup.open_database(told, MetaData(), name="x"):
        assert await migrate.current(empty_database_url) == revisions.newest()


async def test_a_start_that_fails_leaves_no_connection_behind(
    empty_database_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Database] = []
    close = engine.Database.close

    async def noticed(self: Database) -> None:
        closed.append(self)
        await close(self)

    monkeypatch.setattr(engine.Database, "close", noticed)
    with pytest.raises(StartupError):
        async with startup.open_database(
            settings(DATABASE_URL=raw_url(empty_database_url)), MetaData(), name="x"
        ):
            pytest.fail("it was opened")
    [database] = closed
    assert (database.pool.checkedin(), database.pool.checkedout()) == (0, 0)


async def test_a_database_that_stays_away_is_waited_for_as_long_as_the_settings_say(tmp_path: Path) -> None:
    away = settings(DATABASE_URL=f"postgresql://me@/keys?host={tmp_path}", EXAMPLE_DB_START_TIMEOUT="10ms")
    with pytest.raises(StartupError, match="can't be reached: nothing listens there"):
        async with startup.open_database(away, MetaData(), name="x"):
            pytest.fail("it was opened")


async def test_a_server_serves_within_its_block_and_is_stopped_after_it(output: io.StringIO) -> None:
    metrics, port = Metrics(), free_port()
    loaded = settings(EXAMPLE_METRICS_LISTEN=f"127.0.0.1:{port}")
    server = server_of(loaded, metrics)
    async with startup.serving(server, loaded, metrics) as stop:
        async with plain_channel(server.port) as channel:
            stub: Any = HealthStub(channel)
            answer = await stub.Check(HealthCheckRequest(service=PROBE.full_name))
            assert answer.status == HealthCheckResponse.SERVING
        assert accepts(port)
        stop.set("enough")
    assert not accepts(server.port)
    assert not accepts(port)
    said = [(line["event"], line.get("address"), line.get("reason")) for line in lines(output)]
    address = f"127.0.0.1:{server.port}"
    assert said[-3:] == [("serving", address, None), ("stopping", None, "enough"), ("stopped", None, None)]


async def test_a_block_that_raises_stops_the_server_too(output: io.StringIO) -> None:
    metrics, loaded = Metrics(), settings()
    server = server_of(loaded, metrics)
    with pytest.raises(ZeroDivisionError):
        async with startup.serving(server, loaded, metrics):
            raise ZeroDivisionError
    assert not accepts(server.port)


async def test_a_server_that_cannot_listen_frees_the_port_of_its_metrics(output: io.StringIO) -> None:
    metrics, port = Metrics(), free_port()
    good = settings()
    async with startup.serving(server := server_of(good, metrics), good, metrics):
        bad = settings(EXAMPLE_LISTEN=f"127.0.0.1:{server.port}", EXAMPLE_METRICS_LISTEN=f"127.0.0.1:{port}")
        with pytest.raises(StartupError, match="address already in use"):
            async with startup.serving(server_of(bad, metrics), bad, metrics):
                pytest.fail("it serves")
    assert not accepts(port)


@pytest.mark.parametrize(
    ("size", "share", "told"),
    [("5", 4, True), ("6", 5, False), ("1", 1, True)],
    ids=["as many as the share", "one more", "nothing to share"],
)
async def test_a_share_that_leaves_nothing_to_others_is_made_smaller_and_that_is_said(
    database_url: DatabaseUrl, output: io.StringIO, size: str, share: int, told: bool
) -> None:
    loaded = settings(DATABASE_URL=raw_url(database_url), EXAMPLE_DB_POOL_SIZE=size)
    async with startup.open_database(loaded, MetaData(), name="x") as database:
        assert database.options.share == share
    said = [line for line in lines(output) if "too few for the share" in line["event"]]
    assert [(line["level"], line["share"]) for line in said] == ([("warning", share)] if told else [])


async def test_with_as_few_connections_as_the_share_one_principal_still_leaves_one_to_others(
    database_url: DatabaseUrl,
) -> None:
    loaded = settings(DATABASE_URL=raw_url(database_url), EXAMPLE_DB_POOL_SIZE="5")
    async with startup.open_database(loaded, MetaData(), name="x") as database, AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(database.transaction(whose="greedy"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), database.transaction(whose="greedy"):
                pytest.fail("he had all of them")
        async with asyncio.timeout(10), database.transaction(whose="another") as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
