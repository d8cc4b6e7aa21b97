"""The table of accounts: the parents of all that is kept of them."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
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


async def share(connection: AsyncConnection, account_name: str) -> UUID:
    """The same; and nobody who wants the account for himself gets it until the unit of work ends."""
    statement = select(_table.id).where(_table.account_name == account_name).with_for_update(read=True)
    found: UUID | None = (await connection.execute(statement)).scalar_one_or_none()
    if found is None:
        await ensure(connection, account_name)
        found = (await connection.execute(statement)).scalar_one()
    return found


async def find(executor: Executor, account_name: str) -> UUID | None:
    """The same, if there is one."""
    statement = select(_table.id).where(_table.account_name == account_name)
    found: UUID | None = (await executor.execute(statement)).scalar_one_or_none()
    return found
