"""The table of seals, and the audit record as it is sealed: in the order of positions, up to where it is complete.

Transactions commit in another order than they draw positions in. But whoever draws one has a transaction id by then.
So once every transaction is over that had one when the newest event was looked at, nothing can come to lie before
that event any more: a ``Fence`` is that look, and ``is_past`` says whether it is so.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import LargeBinary, Row, Text, cast, false, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from keyservice import models
from keyservice.audit_chain import Batch, Event, Seal
from servicekit.database.reads import Executor

_events = models.AuditEvent
_seals = models.AuditSeal

ADVISORY_LOCK: Final = 0x6B657962736C73
"""Any number that others do not use: the letters "keybsls"."""

# All columns of the table, each as PostgreSQL sends it: a test changes every one of them.
_WRITTEN_DOWN: Final = (
    func.int8send(_events.position),
    func.uuid_send(_events.id),
    func.timestamptz_send(_events.created_at),
    func.textsend(_events.principal),
    func.textsend(_events.action),
    func.uuid_send(_events.client_id),
    func.uuid_send(_events.api_key_id),
    func.textsend(_events.request_id),
    func.textsend(_events.outcome),
    func.textsend(cast(_events.details, Text)),
)
_SEAL: Final = (
    _seals.number,
    _seals.encoding,
    _seals.first_position,
    _seals.last_position,
    _seals.event_count,
    _seals.digest,
    _seals.previous_mac,
    _seals.mac,
    func.timestamptz_send(_seals.created_at, type_=LargeBinary),
)
# The transaction id is drawn after the look at the newest event, and only where there is something to seal.
_FENCE: Final = text("""
    SELECT position, pg_current_xact_id()::text::bigint, pg_postmaster_start_time()
    FROM audit_events WHERE position > :after ORDER BY position DESC LIMIT 1
""")
_TURN: Final = text("""
    SELECT pg_try_advisory_xact_lock(:lock),
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
           pg_postmaster_start_time(),
           timestamptz_send(now())
""")


@dataclass(frozen=True, slots=True)
class Fence:
    """A look at the newest event: where it lies, and whom to wait for until nothing can come before it."""

    position: int
    transaction: int
    """Whoever had an id when it was looked at has a smaller one."""
    server_start: datetime
    """Of the server that counts these transactions; another one may count otherwise."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One sealer's turn, while its transaction lasts."""

    mine: bool
    """Whether nobody else is at it."""
    oldest: int
    """No transaction with a smaller id is under way."""
    server_start: datetime
    time: bytes

    def is_past(self, fence: Fence) -> bool:
        return self.server_start == fence.server_start and self.oldest >= fence.transaction

    def is_elsewhere(self, fence: Fence) -> bool:
        """Whether the fence is another server's, so that nobody will ever be past it."""
        return self.server_start != fence.server_start


async def fence(connection: AsyncConnection, *, after: int) -> Fence | None:
    """Look at the newest event; None where there is none behind a position."""
    row = (await connection.execute(_FENCE, {"after": after})).one_or_none()
    return Fence(*row) if row else None


async def turn(connection: AsyncConnection) -> Turn:
    """Take one's turn, if it is free, until the unit of work ends."""
    return Turn(*(await connection.execute(_TURN, {"lock": ADVISORY_LOCK})).one())


async def head(connection: Executor) -> Seal | None:
    """The last seal."""
    row = (await connection.execute(select(*_SEAL).order_by(_seals.number.desc()).limit(1))).one_or_none()
    return _seal(row) if row else None


async def get(connection: Executor, number: int) -> Seal | None:
    row = (await connection.execute(select(*_SEAL).where(_seals.number == number))).one_or_none()
    return _seal(row) if row else None


async def page(connection: Executor, *, after: int, size: int) -> list[Seal]:
    """The next seals, by number."""
    query = select(*_SEAL).where(_seals.number > after).order_by(_seals.number).limit(size)
    return [_seal(row) for row in await connection.execute(query)]


async def events(connection: Executor, *, after: int, size: int, up_to: int | None = None) -> list[Event]:
    """The next events, by position."""
    query = (
        select(_events.position, *_WRITTEN_DOWN).where(_events.position > after).order_by(_events.position)
    )
    query = query.limit(size)
    if up_to is not None:
        query = query.where(_events.position <= up_to)
    return [Event(row[0], row[1:]) for row in await connection.execute(query)]


async def count_events(connection: Executor, *, after: int, patience: timedelta) -> tuple[int, str, bool]:
    """How many events lie behind a position, the time of the oldest for people, and whether that is longer ago."""
    oldest = func.min(_events.created_at)
    told = func.to_char(oldest, "YYYY-MM-DD HH24:MI:SS")
    late = func.coalesce(oldest < func.now() - patience, false())
    query = select(func.count(), told, late).where(_events.position > after)
    number, since, is_late = (await connection.execute(query)).one()
    return number, f"{since} UTC" if since else "", is_late


async def add(connection: AsyncConnection, seal: Seal) -> None:
    """Store a seal, with the time of the unit of work, which is the one that its turn was given."""
    batch = seal.batch
    values: dict[str, Any] = {
        "number": seal.number,
        "encoding": seal.encoding,
        "first_position": batch.first_position,
        "last_position": batch.last_position,
        "event_count": batch.event_count,
        "digest": batch.digest,
        "previous_mac": seal.previous_mac,
        "mac": seal.mac,
        "created_at": func.now(),
    }
    await connection.execute(insert(_seals).values(values))


def _seal(row: Row[*tuple[Any, ...]]) -> Seal:
    number, encoding, *batch, previous_mac, mac, time = row
    return Seal(number, encoding, Batch(*batch), previous_mac, mac, time)
