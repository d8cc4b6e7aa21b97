"""Until when something is wanted: by the caller who is served, or by the last of those who share it."""

import asyncio

import pytest

from bridgeservice.deadlines import Deadline, go_by, time_left, while_wanted
from tests.support.calls import enter_call


async def in_a_call(deadline: Deadline | None) -> float | None:
    async def serve() -> float | None:
        enter_call(expires_in=50)
        if deadline is not None:
            go_by(deadline)
        return time_left()

    return await asyncio.create_task(serve())


def test_nothing_bounds_what_no_caller_waits_for() -> None:
    assert time_left() is None


async def test_a_call_ends_with_its_own_deadline() -> None:
    left = await in_a_call(None)
    assert left is not None
    assert 0 < left <= 50


async def test_what_is_shared_goes_by_its_own_deadline_and_not_by_that_of_the_call_that_began_it() -> None:
    left = await in_a_call(Deadline(3000))
    assert left is not None
    assert 2900 < left <= 3000
    assert await in_a_call(Deadline()) is None


def test_a_deadline_moves_with_the_most_patient() -> None:
    deadline = Deadline(1000)
    deadline.extend(500)
    left = deadline.left()
    assert left is not None
    assert 900 < left <= 1000
    deadline.extend(None)
    assert deadline.left() is None


class Block:
    """One that lasts until it is let go, or until nobody wants it any more."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()

    async def last(self) -> None:
        go_by(self._deadline)
        async with while_wanted():
            self.entered.set()
            await self.let_go.wait()


async def test_a_block_is_given_up_when_nobody_wants_it_and_who_joins_at_that_moment_is_too_late() -> None:
    deadline = Deadline(0)
    block = Block(deadline)
    lasting = asyncio.create_task(block.last())
    await block.entered.wait()
    deadline.extend(50)
    with pytest.raises(TimeoutError):
        await lasting


async def test_a_block_is_not_given_up_for_a_hasty_one_who_joins() -> None:
    async def join() -> None:
        enter_call(expires_in=0)
        deadline.extend(0)

    deadline = Deadline(50)
    block = Block(deadline)
    lasting = asyncio.create_task(block.last())
    await block.entered.wait()
    await asyncio.create_task(join())
    block.let_go.set()
    await lasting
