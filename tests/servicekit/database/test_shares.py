"""What the changes of one principal may hold of the pool."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from servicekit.database.shares import Shares


async def test_one_who_has_his_share_waits_and_nobody_else_does() -> None:
    shares = Shares(2)
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(shares.of("greedy"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), shares.of("greedy"):
                pass
        async with shares.of("another"), shares.of("another"):
            pass
    async with shares.of("greedy"):
        pass
    assert (shares._places, shares._users) == ({}, {})


async def test_there_is_no_limit_for_nobody_in_particular_nor_with_a_share_of_none() -> None:
    async with AsyncExitStack() as held:
        for _ in range(100):
            await held.enter_async_context(Shares(1).of(None))
        unlimited = Shares(0)
        for _ in range(100):
            await held.enter_async_context(unlimited.of("one"))
