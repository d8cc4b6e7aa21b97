"""What can be chosen about the database connection, and what asyncpg is told in consequence."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

from servicekit.database.url import ENCRYPTED_MODES, SYSTEM_ROOTS, DatabaseUrl
from servicekit.errors import SettingsError

_CLIENT_SIDE_SLACK = timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseOptions:
    """Where the database is, and how many connections of which kind are kept to it."""

    url: DatabaseUrl

    pool_size: int = 20
    """Connections kept open. Twenty fill two cores; more only queue inside PostgreSQL instead of here."""

    max_overflow: int = 0
    """Connections beyond the pool. They close on return, and opening one costs more than the wait for a free
    one: measured, the 99th percentile of AddApiKey was 250 ms with overflow and 90 ms without."""

    principal_share: int = 5
    """Connections that the changes of one principal may hold at once; 0 is no limit."""

    pool_timeout: timedelta = timedelta(seconds=30)
    """How long a unit of work waits for a free connection before the answer is UNAVAILABLE."""

    pool_recycle: timedelta = timedelta(seconds=1800)
    """Age at which a connection is replaced, so that a changed DNS name or a grown backend is left behind."""

    pre_ping: bool = True
    """Ask each connection whether it still lives before a unit of work gets it: one round trip, and a
    connection that died while idle never surfaces."""

    statement_timeout: timedelta = timedelta(seconds=30)
    """After this PostgreSQL gives up on a statement and the answer is DEADLINE_EXCEEDED; zero is never."""

    connect_timeout: timedelta = timedelta(seconds=10)
    """How long opening one connection may take, TLS and log-in included."""

    application_name: str = "keybridge"
    """What pg_stat_activity shows."""

    @property
    def connections(self) -> int:
        """As many as there can be."""
        return self.pool_size + self.max_overflow

    @property
    def share(self) -> int:
        """The principal's, as far as it leaves a connection to everybody else: of one alone nothing can be left."""
        return min(self.principal_share, max(1, self.connections - 1))


class ConnectArguments(TypedDict):
    """The keyword arguments of ``asyncpg.connect`` that we use."""

    host: str
    port: int
    user: str | None
    password: Callable[[], str] | str
    database: str
    ssl: ssl.SSLContext | str | bool
    timeout: float
    command_timeout: float | None
    server_settings: dict[str, str]


def connect_arguments(options: DatabaseOptions) -> ConnectArguments:
    """Everything explicit, so that no PGHOST, PGPORT or PGSSLMODE of the environment redirects or weakens
    it."""
    url = options.url
    statement_timeout = options.statement_timeout
    return {
        "host": url.host,
        "port": url.port,
        "user": url.user,
        # An empty one, because for none asyncpg would look into PGPASSWORD and ~/.pgpass.
        "password": url.password.get_secret_value if url.password else "",
        "database": url.database,
        "ssl": ssl_argument(url),
        "timeout": options.connect_timeout.total_seconds(),
        # PostgreSQL keeps the time itself; this one is for the server that vanished without a word.
        "command_timeout": (statement_timeout + _CLIENT_SIDE_SLACK).total_seconds()
        if statement_timeout
        else None,
        "server_settings": {
            "application_name": options.application_name,
            "statement_timeout": str(int(statement_timeout.total_seconds() * 1000)),
            "timezone": "UTC",
            # Our statements take well under a millisecond; compiling one when its estimate is off takes a
            # hundred.
            "jit": "off",
        },
    }


def ssl_argument(url: DatabaseUrl) -> ssl.SSLContext | str | bool:
    """What asyncpg makes of each mode: it knows allow and prefer by name (they try twice), the rest is a
    context."""
    if url.sslmode == "disable":
        return False
    if url.sslmode not in ENCRYPTED_MODES:
        return url.sslmode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = url.sslmode == "verify-full"
    if url.sslmode == "require" and not url.sslrootcert:
        context.verify_mode = ssl.CERT_NONE
    elif url.sslrootcert in {None, SYSTEM_ROOTS}:
        context.load_default_certs()
    else:
        # As in libpq, authorities that were named are checked even where the mode would not ask for it.
        _load("sslrootcert", lambda: context.load_verify_locations(cafile=url.sslrootcert))
    if url.sslcert:
        certificate, key = url.sslcert, url.sslkey
        _load("sslcert or sslkey", lambda: context.load_cert_chain(certificate, key, password=_no_passphrase))
    return context


def _load(parameter: str, load: Callable[[], None]) -> None:
    try:
        load()
    except OSError as error:  # ssl.SSLError is one too
        raise SettingsError(
            f"The file that {parameter} names in the database URL can't be read as PEM: "
            f"{error.strerror or 'not a certificate or key'}."
        ) from error


def _no_passphrase() -> str:
    """An empty answer, or OpenSSL would ask for one at the terminal and wait."""
    return ""
