"""The table of accounts: however many are wanted at once, and whoever else makes them, each has one id."""

import asyncio
from uuid import uuid4

from bridgeservice.store import accounts
from servicekit.database.engine import Database


def fresh(count: int) -> list[str]:
    return [f"client_{uuid4()}" for _ in range(count)]


async def test_many_are_made_at_once_and_keep_their_ids(database: Database) -> None:
    names = fresh(3)
    async with database.transaction() as connection:
        made = await accounts.ensure_all(connection, names)
    assert len(set(made.values())) == 3
    async with database.transaction() as connection:
        again = await accounts.ensure_all(connection, [*names, *fresh(2)])
        assert {name: await accounts.ensure(connection, name) for name in names} == made
    assert len(again) == 5
    assert again.items() >= made.items()


async def test_those_who_make_the_same_ones_together_agree(database: Database) -> None:
    names = fresh(20)

    async def make(order: list[str]) -> dict[str, object]:
        async with database.transaction() as connection:
            return dict(await accounts.ensure_all(connection, order))

    one, other, single = await asyncio.gather(make(names), make(names[::-1]), make(names[7:8]))
    assert one == other
    assert one.items() >= single.items()
    assert len(one) == len(names)
