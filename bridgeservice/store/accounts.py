"""The table of accounts: the parents of all that is kept of them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Text, column, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models
from servicekit.database.reads import Executor

_table = models.Account


async def ensure(connection: AsyncConnection, account_name: str) -> UUID:
    """The account's id; the account is made when there is none."""
    await connection.execute(insert(_table).values(account_name=account_name).on_conflict_do_nothing())
    found = await connection.execute(select(_table.id).where(_table.account_name == account_name))
    account_id: UUID = found.scalar_one()
    return account_id


async def find(executor: Executor, account_name: str) -> UUID | None:
    """The account's id, if anything is kept of it."""
    rows = await executor.execute(select(_table.id).where(_table.account_name == account_name))
    found: UUID | None = rows.scalar_one_or_none()
    return found


async def hold(connection: AsyncConnection, account_name: str) -> UUID:
    """The account's id, as ``ensure`` gives it, and nobody else's to hold until the unit of work ends.

    What hangs on the account can still be written. Only the next statement is sure to see what whoever held it
    before has committed.
    """
    statement = select(_table.id).where(_table.account_name == account_name).with_for_update(key_share=True)
    found: UUID | None = (await connection.execute(statement)).scalar_one_or_none()
    if found is None:
        await ensure(connection, account_name)
        found = (await connection.execute(statement)).scalar_one()
    return found


async def ensure_all(connection: AsyncConnection, account_names: Sequence[str]) -> dict[str, UUID]:
    """The ids of many accounts, by their names; those that are not there are made."""
    # In one order, so that two who make the same accounts never wait for each other.
    names = literal(sorted(account_names), ARRAY(Text))
    given = func.unnest(names).table_valued(column("account_name", Text)).render_derived(name="given")
    # Each with an id of the database: SQLAlchemy would give all rows of a SELECT the same one.
    made = insert(_table).from_select(["account_name"], select(given.c.account_name), include_defaults=False)
    await connection.execute(made.on_conflict_do_nothing())
    rows = await connection.execute(
        select(_table.account_name, _table.id).where(_table.account_name == func.any(names))
    )
    return {row.account_name: row.id for row in rows}
