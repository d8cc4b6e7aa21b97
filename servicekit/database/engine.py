"""The door to PostgreSQL: one pool per process, and the unit of work that every use case is written in.

``__main__`` makes one ``Database``. Use cases say ``async with database.transaction() as connection``
(commit on success, rollback on any error) or ``database.run(work)`` where two may collide; reads outside of
any go through ``database.reads``, and the write that is one statement says ``autocommit()``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

import asyncpg
from sqlalchemy import URL, event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool
from sqlalchemy.util import await_only

from servicekit.database.errors import CONFLICT, CONNECTING, FOREIGN, LOST_THREAD, Conflicts, translate
from servicekit.database.options import DatabaseOptions, connect_arguments
from servicekit.database.reach import open_once, wait_until_reachable
from servicekit.database.reads import Reads
from servicekit.database.shares import Shares
from servicekit.errors import Aborted

T = TypeVar("T")
Connection: TypeAlias = AsyncConnection
"""What a unit of work hands out: use cases pass it on to the store, and do nothing else with it."""
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

ATTEMPTS = 5
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25
_PING_SECONDS = 5.0
_TRUSTED_SECONDS = 1.0
_IDLE_SINCE = "idle since"


def create_engine(options: DatabaseOptions, *, pooled: bool = True) -> AsyncEngine:
    """An engine that reaches PostgreSQL the same way whoever asks: the services' pool, migrations, probes.

    Its URL is bare: host and password travel as arguments, so nothing that prints an engine prints them.
    ``hide_parameters`` keeps bound values out of SQLAlchemy's errors and logs.
    """
    url = URL.create("postgresql+asyncpg")
    arguments = dict(connect_arguments(options))
    if not pooled:
        return create_async_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    engine = create_async_engine(
        url,
        pool_size=options.pool_size,
        max_overflow=options.max_overflow,
        pool_timeout=options.pool_timeout.total_seconds(),
        pool_recycle=int(options.pool_recycle.total_seconds()),
        hide_parameters=True,
        connect_args=arguments,
    )
    if options.pre_ping:
        event.listen(engine.sync_engine, "checkin", _note_time)
        event.listen(engine.sync_engine, "checkout", _require_life)
    return engine


class Database:
    """The pool and the unit of work. ``conflicts`` says what hitting each unique constraint means to a
    caller."""

    def __init__(self, options: DatabaseOptions, conflicts: Conflicts | None = None) -> None:
        self.options = options
        self._conflicts = dict(conflicts or {})
        self._engine = create_engine(options)
        self._shares = Shares(options.share)
        self.reads = Reads(self._engine.sync_engine, self._conflicts)

    @property
    def pool(self) -> QueuePool:
        """For the metrics: ``size()``, ``checkedin()``, ``checkedout()``, ``overflow()``."""
        return cast(QueuePool, self._engine.pool)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation | None = None, whose: str | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """A unit of work: commit when the block ends, rollback when it raises or is cancelled.

        Errors of the driver come out as ours. "Committed" is a promise; an error is not the promise of the
        opposite. ``whose`` it is, where it may wait for other changes of the same principal.
        """
        async with self._shares.of(whose), self._transaction(isolation) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, isolation: Isolation | None) -> AsyncIterator[AsyncConnection]:
        connection = await self._connect(isolation)
        try:
            yield connection
        except FOREIGN as error:
            await _uninterrupted(_give_back(connection, broken=isinstance(error, LOST_THREAD)))
            raise translate(error, self._conflicts) from error
        except BaseException:
            await _uninterrupted(_give_back(connection))
            raise
        try:
            await _uninterrupted(_commit(connection))
        except FOREIGN as error:
            raise translate(error, self._conflicts) from error

    @asynccontextmanager
    async def autocommit(self, *, whose: str | None = None) -> AsyncIterator[AsyncConnection]:
        """Each statement is a transaction of its own: no BEGIN and no COMMIT, so a third of the round trips.

        For the write that is one statement, and for what reads a lot. Each sees its own snapshot; statements
        that have to agree with one another belong in ``transaction()``.
        """
        async with self._shares.of(whose), self._autocommit() as connection:
            yield connection

    @asynccontextmanager
    async def _autocommit(self) -> AsyncIterator[AsyncConnection]:
        connection = await self._connect("AUTOCOMMIT")
        try:
            yield connection
        except BaseException as error:
            await _uninterrupted(_give_back(connection, broken=isinstance(error, LOST_THREAD)))
            if isinstance(error, FOREIGN):
                raise translate(error, self._conflicts) from error
            raise
        # Nothing to wait for, so nothing to guard: no transaction is open.
        await connection.close()

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        isolation: Isolation | None = None,
        whose: str | None = None,
    ) -> T:
        """``work`` in a transaction, again from the start when PostgreSQL gave it up for another one's sake.

        Only serialization failures and deadlocks: PostgreSQL has then surely rolled back. A write whose
        outcome is unknown is never repeated, so ``work`` may be any, as long as all that it does is in the
        database.
        """
        attempt = 1
        while True:
            try:
                async with self.transaction(isolation=isolation, whose=whose) as connection:
                    return await work(connection)
            except Aborted as error:
                if error.reason != CONFLICT or attempt == ATTEMPTS:
                    raise
            # Full jitter: two that collided must not meet again at the same moment.
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads load, guards nothing
            attempt += 1

    async def wait_until_reachable(self, patience: timedelta = timedelta(seconds=30)) -> None:
        """Come back once the database answers; StartupError with one sentence when it does not, or never
        will."""
        await wait_until_reachable(self.options, patience)

    async def ready(self) -> bool:
        """Whether the database answers now.

        Over a connection of its own: a full pool means that there is much to do, and taking the service out
        of rotation for it would only push its load onto the next one.
        """
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await open_once(self.options)
        except CONNECTING:
            return False
        return True

    async def close(self) -> None:
        await self._engine.dispose()

    async def _connect(self, isolation: Isolation | Literal["AUTOCOMMIT"] | None) -> AsyncConnection:
        connection = self._engine.connect()
        try:
            await connection.start()
            if isolation is not None:
                await connection.execution_options(isolation_level=isolation)
        except CONNECTING as error:
            raise translate(error, self._conflicts) from error
        return connection


class _PooledConnection(Protocol):
    """SQLAlchemy's adapter around one asyncpg connection."""

    driver_connection: "asyncpg.Connection[Any]"


class _PoolRecord(Protocol):
    """The pool's own note on a connection."""

    info: dict[str, float]


def _note_time(_connection: object, record: _PoolRecord) -> None:
    record.info[_IDLE_SINCE] = monotonic()


def _require_life(connection: _PooledConnection, record: _PoolRecord, _proxy: object) -> None:
    """Let a unit of work have a connection that lives; the pool replaces one that does not.

    A server that ended said so, and asyncpg knows; one that vanished did not, so a connection that was idle for
    a while is asked for a sign of life. Under load nobody is asked: a question costs as much as a read.

    SQLAlchemy's own ``pool_pre_ping`` takes three round trips with asyncpg (BEGIN, a statement, ROLLBACK)
    and waits for ever where the network swallows packets. A simple query takes one, and has a time
    limit.
    """
    driver = connection.driver_connection
    if driver.is_closed():
        raise exc.DisconnectionError("gone while idle")
    if monotonic() - record.info.get(_IDLE_SINCE, monotonic()) < _TRUSTED_SECONDS:
        return
    try:
        await_only(driver.execute("SELECT 1", timeout=_PING_SECONDS))
    except FOREIGN as error:
        raise exc.DisconnectionError("gone while idle") from error


async def _commit(connection: AsyncConnection) -> None:
    try:
        await connection.commit()
    except LOST_THREAD:
        await connection.invalidate()
        raise
    finally:
        await connection.close()


async def _give_back(connection: AsyncConnection, *, broken: bool = False) -> None:
    """Roll back by returning the connection to the pool; one that lost its thread is thrown away instead."""
    if broken:
        await connection.invalidate()
    await connection.close()


async def _uninterrupted(ending: Coroutine[Any, Any, None]) -> None:
    """Await the end of a unit of work to its end, and only then let a cancellation through.

    A COMMIT that is cancelled between request and answer leaves a connection whose next answer belongs to
    someone else; SQLAlchemy would throw it away, and a storm of expired deadlines would empty the pool.
    """
    task = asyncio.ensure_future(ending)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except FOREIGN:
            break
    if cancelled is not None:
        with suppress(*FOREIGN):  # the caller is gone, and hears of the cancellation only
            task.result()
        raise cancelled
    task.result()
