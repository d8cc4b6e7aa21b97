"""Pages by keyset on a time and an id: the hundredth page costs what the first does."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from servicekit.database.reads import Executor
from servicekit.paging import Page, Position

T = TypeVar("T")
Within = tuple[InstrumentedAttribute[Any], object]


async def fetch_page(
    connection: Executor,
    query: Select[*tuple[Any, ...]],  # each list selects its own columns; ``record`` knows them
    keyset: tuple[InstrumentedAttribute[datetime], InstrumentedAttribute[UUID]],
    record: Callable[[Row[*tuple[Any, ...]]], T],
    *,
    after: Position | None,
    size: int,
    newest_first: bool = False,
    within: Within | None = None,
) -> Page[T]:
    """The rows behind ``after``, the oldest first unless it is to be the other way round.

    ``within`` is the filter whose index is to lead: a column and its value. It is written as a range and takes part in
    the order, which only that index has. Written as an equation it would leave the planner free to walk through the
    index on time instead, past all older rows of others, which it takes to be few: measured on 200,000 rows, a page
    of an exchange whose keys came late then read 6,931 buffers instead of 8.
    """
    columns: list[Any] = [*keyset]
    reached: list[Any] = [] if after is None else [after.time, after.id]
    if within is not None:
        column, value = within[0], literal(within[1], within[0].type)
        query = query.where(column >= value, column <= value)
        columns, reached = [column, *columns], [value, *reached]
    if after is not None:
        position = tuple_(*columns)
        query = query.where(position < tuple_(*reached) if newest_first else position > tuple_(*reached))
    order = [column.desc() for column in columns] if newest_first else columns
    # One more than was asked for tells whether another page follows.
    rows = (await connection.execute(query.order_by(*order).limit(size + 1))).all()
    kept = rows[:size]
    end = None
    if len(rows) > size:
        end = Position(*(getattr(kept[-1], column.key) for column in keyset))
    return Page([record(row) for row in kept], end)
