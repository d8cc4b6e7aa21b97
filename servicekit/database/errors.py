"""The one place where errors of SQLAlchemy and asyncpg become ours.

Their texts hold values (``Key (api_key)=(…) already exists``, ``invalid input for query argument $1: '…'``),
so a message of ours never contains one, and the originals, which stay chained for the log's traceback, are
scrubbed first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg
from sqlalchemy import exc

from servicekit.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    KeybridgeError,
    Unavailable,
)

UNAVAILABLE = "DATABASE_UNAVAILABLE"
BUSY = "DATABASE_BUSY"
TIMEOUT = "DATABASE_TIMEOUT"
CONFLICT = "DATABASE_CONFLICT"
FAILED = "DATABASE_ERROR"

LOST_THREAD = (OSError, asyncpg.InternalClientError)
"""What leaves a connection that nobody may use any more. asyncpg has no better word for one that was cut while its
protocol was between two states."""

FOREIGN = (
    exc.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
)
"""What a statement can raise. A lost connection and a client-side time-out arrive bare, not as SQLAlchemy
errors; nothing else inside a unit of work talks to a network, so they can only be the database's."""

CONNECTING = (*FOREIGN, OSError)
"""What opening a connection can raise besides: no such host, no such socket, a TLS handshake refused."""

_HIT = frozenset({asyncpg.UniqueViolationError.sqlstate, asyncpg.ForeignKeyViolationError.sqlstate})
_CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_TIMEOUTS = frozenset({"57014", "55P03", "25P04"})  # statement, lock and transaction time-out
_GONE_CLASSES = ("08", "53", "57P", "28", "3D")  # connection, resources, shutdown, log-in, no such database
_GONE = frozenset({"25006", "25P03"})  # a standby since a fail-over; dropped because idle in a transaction
_TEXT_IS_SAFE = ("08", "28", "3D", "40", "42", "53", "55", "57", "58")  # these name objects, never values
_FACTS = ("sqlstate", "schema_name", "table_name", "column_name", "constraint_name")


@dataclass(frozen=True, slots=True)
class Conflict:
    """What it means to the caller that a unique constraint, or a foreign key, was hit."""

    reason: str
    message: str
    kind: type[KeybridgeError] = AlreadyExists


Conflicts = Mapping[str, Conflict]
"""The registry of a service: name of the constraint or unique index → its meaning."""


def translate(error: BaseException, conflicts: Conflicts) -> KeybridgeError:
    """Our error for a foreign one, which is scrubbed and becomes its cause."""
    ours = _ours(error, conflicts)
    scrub(error)
    ours.__cause__ = error
    return ours


def driver_error(error: BaseException) -> asyncpg.PostgresError | None:
    """What PostgreSQL itself said, if it said anything."""
    return next((link for link in _chain(error) if isinstance(link, asyncpg.PostgresError)), None)


def scrub(error: BaseException) -> None:
    """Take the values out of a chain of foreign errors, in place; names of objects and SQL with placeholders
    stay."""
    for link in _chain(error):
        if isinstance(link, asyncpg.PostgresError):
            safe = (link.sqlstate or "").startswith(_TEXT_IS_SAFE)
            facts = [value for name in _FACTS if (value := getattr(link, name, None))]
            link.args = (str(link.args[0]) if safe else "/".join(facts),)
            for name in vars(link).keys() - set(_FACTS):
                setattr(link, name, None)
        elif isinstance(link, exc.DBAPIError):
            link.args = (type(link.orig).__name__,)
            link.params = None
        elif isinstance(link, (exc.EmulatedDBAPIException, asyncpg.InterfaceError)):
            link.args = ("see the cause",)
            if hasattr(link, "detail"):
                link.detail = None


def _ours(error: BaseException, conflicts: Conflicts) -> KeybridgeError:
    said = driver_error(error)
    if said is not None and said.sqlstate in _HIT:
        known = conflicts.get(said.constraint_name or "")
        if known is not None:
            return known.kind(known.message, reason=known.reason)
        if said.sqlstate == asyncpg.UniqueViolationError.sqlstate:
            return AlreadyExists("That exists already.")
    if isinstance(error, exc.TimeoutError):
        return Unavailable(
            "The service has more work than database connections; try again shortly.", reason=BUSY
        )
    if isinstance(error, TimeoutError):
        return _too_late()
    if _is_connection_loss(error, said):
        return Unavailable(
            "The database can't be reached; if this was a change, whether it was stored is unknown.",
            reason=UNAVAILABLE,
        )
    return _of_state(said.sqlstate if said else None)


def _of_state(state: str | None) -> KeybridgeError:
    if state in _TIMEOUTS:
        return _too_late()
    if state in _CONFLICTS:
        return Aborted("Another change got in the way each time; try again.", reason=CONFLICT)
    return Internal("The database refused a statement that nobody expected it to refuse.", reason=FAILED)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The database took too long to answer.", reason=TIMEOUT)


def _is_connection_loss(error: BaseException, said: asyncpg.PostgresError | None) -> bool:
    if said is not None and said.sqlstate:
        state = said.sqlstate
        return state in _GONE or state.startswith(_GONE_CLASSES)
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    return any(isinstance(link, LOST_THREAD) or _says_closed(link) for link in _chain(error))


def _says_closed(link: BaseException) -> bool:
    """asyncpg has no class for a connection that was closed under it, only this text of its own."""
    return isinstance(link, asyncpg.InterfaceError) and "closed" in str(link)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that hangs on it, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        original = link.orig if isinstance(link, exc.DBAPIError) else None
        waiting += [link.__context__, original, link.__cause__]
