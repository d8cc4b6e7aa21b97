"""What PostgreSQL does for a statement: those that the store really sends, caught on their way and explained."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import CursorResult, event
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database.engine import Database

_EXPLAIN: Final = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"


@dataclass(frozen=True)
class Plan:
    """How one statement was executed."""

    nodes: frozenset[str]
    indexes: frozenset[str]
    """Those that were used, by name."""
    buffers: int
    rows: int
    discarded: int
    """Rows that were read and then did not fit the filter."""


class Statements:
    """What goes over a connection, with its parameters."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.sent: list[tuple[str, Any]] = []
        event.listen(connection.sync_connection, "before_cursor_execute", self._note)

    def _note(self, _c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        self.sent.append((statement, parameters))


async def explained(
    database: Database, work: Callable[[AsyncConnection], Awaitable[object]], *, generic: bool = False
) -> list[Plan]:
    """The plans of all the statements of ``work``, in their order; nothing that they write stays.

    ``generic`` are those that do not know the parameters, which PostgreSQL goes over to when a statement is repeated.
    """
    async with database.transaction() as connection:
        statements = Statements(connection)
        await work(connection)
        await connection.rollback()
        plans = []
        for statement, parameters in statements.sent[:]:
            explain = _explain_for_any if generic else _explain
            plans.append(await explain(connection, statement, parameters))
            await connection.rollback()
    return plans


async def _explain(connection: AsyncConnection, statement: str, parameters: Any) -> Plan:
    return _plan(await connection.exec_driver_sql(f"{_EXPLAIN} {statement}", parameters))


async def _explain_for_any(connection: AsyncConnection, statement: str, parameters: Any) -> Plan:
    """EXPLAIN itself always knows the parameters; that of a prepared statement can be made not to."""
    await connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    await connection.exec_driver_sql(f"PREPARE explained AS {statement}")
    given = ", ".join(_literal(value) for value in parameters)
    plan = _plan(await connection.exec_driver_sql(f"{_EXPLAIN} EXECUTE explained({given})"))
    await connection.exec_driver_sql("DEALLOCATE explained")
    return plan


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "'{" + ", ".join(map(str, value)) + "}'"
    text = f"{value.total_seconds()} seconds" if isinstance(value, timedelta) else str(value)
    return "'" + text.replace("'", "''") + "'"


def _plan(explanation: CursorResult[Any]) -> Plan:
    [whole] = explanation.scalar_one()
    nodes = list(_nodes(whole["Plan"]))
    return Plan(
        frozenset(node["Node Type"] for node in nodes),
        frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
        whole["Plan"]["Shared Hit Blocks"] + whole["Plan"]["Shared Read Blocks"],
        int(whole["Plan"]["Actual Rows"]),
        sum(int(node.get("Rows Removed by Filter", 0)) for node in nodes),
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
