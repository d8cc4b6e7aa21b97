"""Whether the database can be reached at all, and in one sentence why not: used at the start and by the
probe."""

import asyncio
import ssl
from datetime import timedelta

import asyncpg

from servicekit.database.errors import CONNECTING
from servicekit.database.options import DatabaseOptions, connect_arguments
from servicekit.database.url import ENCRYPTED_MODES, DatabaseUrl
from servicekit.errors import StartupError

OLDEST_MAJOR = 15
_PAUSE = 0.2
_PASSES = ("08", "53", "57P")  # connection, resources, shutdown: the classes of what waiting may mend


async def open_once(options: DatabaseOptions) -> int:
    """Open one connection of its own, close it again, and say which major version answered."""
    connection = await asyncpg.connect(**connect_arguments(options))
    try:
        return int(connection.get_server_version().major)
    finally:
        await connection.close(timeout=options.connect_timeout.total_seconds())


async def wait_until_reachable(options: DatabaseOptions, patience: timedelta) -> None:
    """Try until it answers. What waiting does not mend (a wrong password, say) is said at once."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience.total_seconds()
    while True:
        try:
            major = await open_once(options)
            break
        except CONNECTING as error:
            if sentence := _never(error, options.url):
                raise StartupError(sentence) from error
            if loop.time() + _PAUSE > until:
                raise StartupError(_not_yet(error, options.url)) from error
        await asyncio.sleep(_PAUSE)
    if major < OLDEST_MAJOR:
        raise StartupError(
            f"The database at {options.url.where} is PostgreSQL {major}; needed is {OLDEST_MAJOR} or newer."
        )


def _never(error: BaseException, url: DatabaseUrl) -> str | None:
    """The sentence for what stays wrong until someone changes something."""
    user = url.user or "(this account)"
    match error:
        case asyncpg.InvalidPasswordError() if url.password is None:
            return f"The database at {url.where} asks for a password of user {user} and none is set."
        case asyncpg.InvalidPasswordError():
            return f"The database at {url.where} refused the password of user {user}."
        case asyncpg.InvalidAuthorizationSpecificationError():
            return (
                f"The database at {url.where} does not let user {user} in with sslmode={url.sslmode}: "
                "look at the user's name and at pg_hba.conf."
            )
        case asyncpg.InvalidCatalogNameError():
            return f"The server at {url.where} has no database named {url.database}."
        case asyncpg.InsufficientPrivilegeError():
            return (
                f"The server at {url.where} does not let user {user} connect to database {url.database}: "
                "grant CONNECT on it."
            )
        case asyncpg.ObjectNotInPrerequisiteStateError():
            return (
                f"The server at {url.where} takes no connections to database {url.database}: "
                "ALLOW_CONNECTIONS is false there."
            )
        case asyncpg.PostgresError(sqlstate=str(state)) if not state.startswith(_PASSES):
            return f"The server at {url.where} refused the connection with {type(error).__name__}."
        case ssl.SSLError():
            return (
                f"TLS with the database at {url.where} failed: its certificate does not satisfy "
                f"sslmode={url.sslmode}, or it refused ours."
            )
        case ConnectionError() if url.sslmode in ENCRYPTED_MODES and "SSL" in str(error):
            return f"The database at {url.where} does not speak TLS, and sslmode={url.sslmode} demands it."
    return None


def _not_yet(error: BaseException, url: DatabaseUrl) -> str:
    if isinstance(error, asyncpg.OperatorInterventionError):
        return f"The database at {url.where} is still starting, or is shutting down."
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return f"The database at {url.where} has no connection to spare."
    if isinstance(error, (asyncpg.ConnectionDoesNotExistError, ConnectionResetError)):
        # In TLS 1.3 a missing client certificate shows itself only as a connection that ends.
        return (
            f"The database at {url.where} closed the connection during the log-in: "
            "it wants a client certificate (sslcert), or is restarting."
        )
    if isinstance(error, asyncpg.PostgresError):
        return f"The server at {url.where} turns connections away with {type(error).__name__}."
    if isinstance(error, TimeoutError):
        return f"The database at {url.where} can't be reached: no answer in time."
    return f"The database at {url.where} can't be reached: nothing listens there, or the name is unknown."
