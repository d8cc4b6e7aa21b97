"""What PostgreSQL does for a statement: those that the store really sends, caught on their way and explained."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database.engine import Database


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
    milliseconds: float


class Statements:
    """What goes over a connection, with its parameters."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.sent: list[tuple[str, Any]] = []
        event.listen(connection.sync_connection, "before_cursor_execute", self._note)

    def _note(self, _c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        self.sent.append((statement, parameters))


async def explained(database: Database, work: Callable[[AsyncConnection], Awaitable[object]]) -> list[Plan]:
    """The plans of all the statements of ``work``, in their order; nothing that they write stays."""
    async with database.transaction() as connection:
        statements = Statements(connection)
        await work(connection)
        await connection.rollback()
        plans = []
        for statement, parameters in statements.sent[:]:
            plans.append(await _explain(connection, statement, parameters))
            await connection.rollback()
    return plans


async def _explain(connection: AsyncConnection, statement: str, parameters: Any) -> Plan:
    explanation = await connection.exec_driver_sql(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
    )
    [whole] = explanation.scalar_one()
    nodes = list(_nodes(whole["Plan"]))
    return Plan(
        frozenset(node["Node Type"] for node in nodes),
        frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
        whole["Plan"]["Shared Hit Blocks"] + whole["Plan"]["Shared Read Blocks"],
        int(whole["Plan"]["Actual Rows"]),
        sum(int(node.get("Rows Removed by Filter", 0)) for node in nodes),
        whole["Execution Time"],
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
