"""What PostgreSQL does for statements that a store really sends, explained with their own parameters."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database.engine import Database


@dataclass(frozen=True)
class Plan:
    """What PostgreSQL did for one page."""

    nodes: frozenset[str]
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


async def explain(database: Database, act: Callable[[AsyncConnection], Awaitable[object]]) -> Plan:
    """The plan of the one statement that this sends."""
    async with database.autocommit() as connection:
        statements = Statements(connection)
        await act(connection)
        [(statement, parameters)] = statements.sent
        explained = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
        )
        [whole] = explained.scalar_one()
    nodes = list(_nodes(whole["Plan"]))
    return Plan(
        frozenset(node["Node Type"] for node in nodes),
        whole["Plan"]["Shared Hit Blocks"] + whole["Plan"]["Shared Read Blocks"],
        int(whole["Plan"]["Actual Rows"]),
        sum(int(node.get("Rows Removed by Filter", 0)) for node in nodes),
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
