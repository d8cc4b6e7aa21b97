"""Reads outside of any transaction: each takes whichever connection is free, for one statement.

To take the connection, to execute and to give it back is one step here and not three. A read whose connection
turns out to be lost is done once more, on another one: a read may be. docs/adr/0014 says what that saves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import CursorResult, Dialect, Engine, Executable, Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.util import await_only, greenlet_spawn

from servicekit.database.errors import CONNECTING, LOST_THREAD, UNAVAILABLE, Conflicts, translate

T = TypeVar("T")
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]
Values: TypeAlias = Mapping[str, Any]  # of whatever types the statement's parameters are
_Process: TypeAlias = Callable[[Any], Any] | None

_DIALECT: Dialect = dialect()  # type: ignore[no-untyped-call]  # it has no types


class Executor(Protocol):
    """What a read is done with, inside a unit of work or outside of any."""

    async def execute(self, statement: Executable, parameters: Values | None = None) -> Rows:
        """All rows of it."""
        ...


class Prepared:
    """A SELECT that is compiled once, for the hot paths: its execution is left to the driver.

    What SQLAlchemy does for each execution of a statement costs a service more time than the driver takes.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        self._parameters: list[tuple[str, _Process]] = [
            (name, compiled.binds[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
            for name in compiled.positiontup or ()
        ]
        self._columns: list[_Process] = [
            column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
            for column in statement.selected_columns
        ]

    def arguments(self, values: Values) -> list[Any]:
        """The values in the order and the form that the driver takes them in."""
        return [process(values[name]) if process else values[name] for name, process in self._parameters]

    def row(self, raw: Sequence[Any]) -> tuple[Any, ...]:
        """The columns, as the model types them."""
        return tuple(
            [process(value) if process else value for process, value in zip(self._columns, raw, strict=True)]
        )


class Reads:
    """Executes SELECTs. Rows are here when a method returns, and need no connection any more."""

    def __init__(self, engine: Engine, conflicts: Conflicts) -> None:
        self._engine = engine
        self._conflicts = conflicts

    async def execute(self, statement: Executable, parameters: Values | None = None) -> Rows:
        """Any SELECT."""
        return await self._read(lambda: self._execute(statement, parameters))

    async def first(self, prepared: Prepared, values: Values) -> tuple[Any, ...] | None:
        """The first row of one that is prepared, or None."""
        arguments = prepared.arguments(values)
        raw = await self._read(lambda: self._fetch_first(prepared.sql, arguments))
        return prepared.row(raw) if raw is not None else None

    async def _read(self, read: Callable[[], T]) -> T:
        try:
            return await greenlet_spawn(read)
        except CONNECTING as error:
            ours = translate(error, self._conflicts)
            if ours.reason != UNAVAILABLE:
                raise ours from error
        try:
            return await greenlet_spawn(read)
        except CONNECTING as error:
            raise translate(error, self._conflicts) from error

    def _execute(self, statement: Executable, parameters: Values | None) -> Rows:
        with self._engine.connect() as connection:
            try:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return connection.execute(statement, parameters)
            except LOST_THREAD:
                connection.invalidate()
                raise

    def _fetch_first(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any] | None:
        connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection  # asyncpg's; SQLAlchemy's types know no driver
        try:
            found: Sequence[Any] | None = await_only(driver.fetchrow(sql, *arguments))
        except BaseException:
            # Whatever it was, a cancellation too: the connection may be in the middle of an answer.
            connection.invalidate()
            raise
        finally:
            connection.close()
        return found
