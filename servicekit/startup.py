"""The steps that the starts of both services share, in the order in which they are taken.

Settings, database reachable, schema at head and like the models, listening, SERVING. Each step succeeds or
ends the start with one sentence, and nothing is served before all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Never

from sqlalchemy import MetaData

from servicekit import hygiene, logs, readiness
from servicekit.config import ServiceSettings
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.errors import Conflicts
from servicekit.database.options import DatabaseOptions
from servicekit.database.schema import require_schema
from servicekit.database.url import DatabaseUrl, check_production, parse_url, url_from_components
from servicekit.metrics import Metrics
from servicekit.process import StopSignal, announce_ready, stop_signal
from servicekit.readiness import followed
from servicekit.rpc.quota import Limits
from servicekit.rpc.server import Server, ServerOptions
from servicekit.rpc.tls import ServerTls

_log = logs.get(__name__)


def database_url(settings: ServiceSettings) -> DatabaseUrl:
    """Where the database is: the URL, or else the components with their local defaults."""
    if settings.database_url is not None:
        url = parse_url(settings.database_url.get_secret_value(), name=settings.origin("database_url"))
    else:
        url = url_from_components(
            host=settings.db_host,
            port=settings.db_port,
            user=settings.db_user,
            password=settings.db_password,
            database=settings.db_name,
            sslmode=settings.db_sslmode,
        )
    if settings.environment == "production":
        check_production(url)
    return url


def names_database(settings: ServiceSettings) -> bool:
    """Whether any setting says where the database is, so that not one of them is passed over in silence."""
    given = (
        settings.database_url,
        settings.db_host,
        settings.db_port,
        settings.db_user,
        settings.db_password,
        settings.db_name,
        settings.db_sslmode,
    )
    return any(each is not None for each in given)


@asynccontextmanager
async def open_database(
    settings: ServiceSettings, metadata: MetaData, *, name: str, conflicts: Conflicts | None = None
) -> AsyncIterator[Database]:
    """The database, once it answers and has the schema that this release was written for."""
    url = database_url(settings)
    database = Database(
        DatabaseOptions(
            url=url,
            pool_size=settings.db_pool_size,
            max_overflow=settings.db_max_overflow,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=settings.db_pool_recycle,
            pre_ping=settings.db_pool_pre_ping,
            statement_timeout=settings.db_statement_timeout,
            connect_timeout=settings.db_connect_timeout,
            application_name=name,
        ),
        conflicts,
    )
    try:
        await database.wait_until_reachable(settings.db_start_timeout)
        if settings.migrate_on_start:
            await migrate.upgrade(url)
        await require_schema(database, metadata)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def background(*loops: Callable[[], Coroutine[Any, Any, Never]]) -> AsyncIterator[None]:
    """Run what never ends beside the block, and end it with the block; what fails in it ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop()) for loop in loops]
        yield
        for task in tasks:
            task.cancel()


def server_options(settings: ServiceSettings, *, shares_port: bool) -> ServerOptions:
    """What of the settings concerns the gRPC server."""
    tls = None
    if settings.tls_cert_file and settings.tls_key_file:
        tls = ServerTls(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return ServerOptions(
        listen=settings.listen,
        tls=tls,
        reflection=settings.reflection_enabled,
        drain_delay=settings.drain_delay,
        shutdown_grace=settings.shutdown_grace,
        default_deadline=settings.default_deadline,
        deadline_floor=settings.deadline_floor,
        max_stream_age=settings.max_stream_age,
        limits=Limits(
            rate=settings.principal_rate,
            burst=settings.principal_burst,
            calls=settings.principal_calls,
            streams=settings.principal_streams,
        ),
        max_concurrent_rpcs=settings.max_concurrent_rpcs,
        max_concurrent_streams=settings.max_concurrent_streams,
        max_connections=hygiene.room_for_connections(settings.max_connections),
        max_connection_age=settings.max_connection_age,
        max_request_bytes=settings.max_message_bytes,
        max_metadata_bytes=settings.max_metadata_bytes,
        reuse_port=shares_port,
    )


@asynccontextmanager
async def serving(
    server: Server, settings: ServiceSettings, metrics: Metrics, *, ready: readiness.Probe | None = None
) -> AsyncIterator[StopSignal]:
    """Listen and be SERVING while ``ready`` is so; when the block ends, drain and stop within the grace."""
    measured = metrics.serve(settings.metrics_listen) if settings.metrics_listen else nullcontext()
    with stop_signal() as stop, measured:
        await server.start()
        try:
            await server.set_serving()
            address = settings.listen.with_port(server.port)
            announce_ready(str(address))
            _log.info("serving", address=str(address), tls=settings.tls_cert_file is not None)
            async with followed(ready, server, settings.readiness_interval) if ready else nullcontext():
                yield stop
            _log.info("stopping", reason=stop.reason)
        finally:
            await server.stop()
    _log.info("stopped")
