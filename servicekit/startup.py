"""The steps that the starts of both services share, in the order in which they are taken.

Settings, database reachable, schema at head and like the models, listening, SERVING. Each step succeeds or
ends the start with one sentence, and nothing is served before all of them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from sqlalchemy import MetaData

from servicekit import hygiene, logs, readiness
from servicekit.config import ServiceSettings
from servicekit.database.engine import Database
from servicekit.database.errors import Conflicts
from servicekit.database.named import database_url
from servicekit.database.options import DatabaseOptions
from servicekit.database.schema import at_head, require_schema
from servicekit.errors import SettingsError
from servicekit.metrics import Metrics
from servicekit.process import StopSignal, announce_ready, started, stop_signal
from servicekit.readiness import followed
from servicekit.rpc.auth import Authenticated
from servicekit.rpc.certificates import Certificates
from servicekit.rpc.interceptors import Authorizer, Open
from servicekit.rpc.policy import PUBLIC, ROLES, Policy
from servicekit.rpc.quota import Limits
from servicekit.rpc.server import Server, ServerOptions
from servicekit.rpc.tls import ServerTls
from servicekit.rpc.tokens import TokenOptions, Tokens

_log = logs.get(__name__)


@asynccontextmanager
async def open_database(
    settings: ServiceSettings, metadata: MetaData, *, name: str, conflicts: Conflicts | None = None
) -> AsyncIterator[Database]:
    """The database, once it answers and has the schema that this release was written for."""
    options = DatabaseOptions(
        url=database_url(settings),
        pool_size=settings.db_pool_size,
        principal_share=settings.db_principal_share,
        max_overflow=settings.db_max_overflow,
        pool_timeout=settings.db_pool_timeout,
        pool_recycle=settings.db_pool_recycle,
        pre_ping=settings.db_pool_pre_ping,
        statement_timeout=settings.db_statement_timeout,
        connect_timeout=settings.db_connect_timeout,
        application_name=name,
    )
    if options.share == options.connections or options.share < options.principal_share:
        _log.warning(
            "the database's connections are too few for the share of one principal",
            connections=options.connections,
            wanted=options.principal_share,
            share=options.share,
        )
    database = Database(options, conflicts)
    try:
        await database.wait_until_reachable(settings.db_start_timeout)
        if settings.migrate_on_start and not await at_head(database):
            # Imported only where there is something to migrate: alembic would take a tenth of every start.
            from servicekit.database import migrate

            await migrate.upgrade(database.options.url, role_prefix=settings.db_role_prefix)
        await require_schema(database, metadata)
        yield database
    finally:
        await database.close()


def server_options(settings: ServiceSettings, *, shares_port: bool) -> ServerOptions:
    """What of the settings concerns the gRPC server."""
    tls = None
    if settings.tls_cert_file and settings.tls_key_file:
        tls = ServerTls(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return ServerOptions(
        listen=settings.listen,
        tls=tls,
        reflection=settings.reflection_enabled,
        health_policy=_least(settings.health_role),
        reflection_policy=_least(settings.reflection_role),
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
        max_public_streams=settings.max_public_streams,
        max_concurrent_streams=settings.max_concurrent_streams,
        max_connections=hygiene.room_for_connections(settings.max_connections),
        max_connection_age=settings.max_connection_age,
        max_request_bytes=settings.max_message_bytes,
        max_metadata_bytes=settings.max_metadata_bytes,
        reuse_port=shares_port,
    )


def _least(role: str | None) -> Policy:
    return PUBLIC if role is None else Policy(roles=frozenset({ROLES[role]}))


def authorizer(settings: ServiceSettings) -> Authorizer:
    """Who is let in, as the settings say; its files are read now. Nobody is asked only where nobody else can call."""
    if not settings.authenticates:
        ways = f"{settings.variable('jwks_file')} or {settings.variable('principals_file')}"
        if settings.environment == "production":
            raise SettingsError(f"{ways} is required: in production callers have to say who they are.")
        return Open()
    tokens = None
    if settings.jwks_file is not None:
        options = TokenOptions(
            jwks_file=settings.jwks_file,
            issuer=settings.token_issuer,
            audience=settings.audience,
            leeway=settings.token_leeway,
            deny_list_file=settings.deny_list_file,
        )
        tokens = Tokens(options)
    certificates = Certificates(settings.principals_file) if settings.principals_file else None
    return Authenticated(tokens=tokens, certificates=certificates)


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
            started()
            if not settings.authenticates:
                _log.warning(
                    "callers are not asked who they are: whoever is on this machine may do everything"
                )
            _log.info("serving", address=str(address), tls=settings.tls_cert_file is not None)
            async with followed(ready, server, settings.readiness_interval) if ready else nullcontext():
                yield stop
            _log.info("stopping", reason=stop.reason)
        finally:
            await server.stop()
    _log.info("stopped")
