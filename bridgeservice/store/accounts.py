"""The table of accounts: the parents of all that is kept of them."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bridgeservice import models

_table = models.Account


async def ensure(connection: AsyncConnection, account_name: str) -> UUID:
    """The account's id; the account is made when there is none."""
    await connection.execute(insert(_table).values(account_name=account_name).on_conflict_do_nothing())
    found = await connection.execute(select(_table.id).where(_table.account_name == account_name))
    account_id: UUID = found.scalar_one()
    return account_id
