"""What is looked for again and again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from servicekit.errors import KeybridgeError, Unavailable
from servicekit.turns import take_turns
from tests.support.pauses import hold

NEVER = timedelta(hours=1)
AT_ONCE = timedelta(milliseconds=1)


class Turns:
    """Counts them, and does at each what a test wants."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[int] = asyncio.Queue()
        self.wake = asyncio.Event()
        self.failures: list[KeybridgeError] = []
        self.act: Callable[[int], None] = lambda _: None
        self._count = 0

    async def once(self) -> None:
        self._count += 1
        self.taken.put_nowait(self._count)
        self.act(self._count)

    async def comes(self) -> int:
        return await asyncio.wait_for(self.taken.get(), 10)

    @asynccontextmanager
    async def running(
        self, pause: timedelta, gather: timedelta = timedelta(0)
    ) -> AsyncIterator["asyncio.Task[None]"]:
        turns = take_turns(self.once, wake=self.wake, pause=pause, failed=self.failures.append, gather=gather)
        task: asyncio.Task[None] = asyncio.create_task(turns)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_a_turn_comes_by_the_clock() -> None:
    turns = Turns()
    async with turns.running(AT_ONCE):
        assert [await turns.comes() for _ in range(3)] == [1, 2, 3]


async def test_a_turn_comes_at_once_when_somebody_wakes_it() -> None:
    turns = Turns()
    async with turns.running(NEVER):
        await turns.comes()
        turns.wake.set()
        assert await turns.comes() == 2


async def test_what_becomes_known_during_a_turn_is_for_the_next_one() -> None:
    turns = Turns()
    turns.act = lambda count: turns.wake.set() if count == 1 else None
    async with turns.running(NEVER):
        assert [await turns.comes() for _ in range(2)] == [1, 2]


async def test_what_becomes_known_while_it_gathers_shares_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns, gather = Turns(), timedelta(seconds=99)
    gathered = hold(monkeypatch, gather)
    async with turns.running(NEVER, gather=gather):
        await turns.comes()
        for _ in range(100):
            turns.wake.set()
            await asyncio.sleep(0)
        assert turns.taken.empty()
        gathered.set()
        assert await turns.comes() == 2
        await asyncio.sleep(0)
        assert turns.taken.empty()
        assert not turns.wake.is_set()


async def test_a_turn_that_failed_is_told_and_another_comes() -> None:
    turns, error = Turns(), Unavailable("The database is away.", reason="DATABASE_UNAVAILABLE")

    def fail(count: int) -> None:
        if count == 1:
            raise error

    turns.act = fail
    async with turns.running(AT_ONCE):
        assert [await turns.comes() for _ in range(2)] == [1, 2]
    assert turns.failures == [error]


async def test_what_nobody_foresaw_ends_it() -> None:
    turns = Turns()

    def fail(_: int) -> None:
        raise ZeroDivisionError

    turns.act = fail
    async with turns.running(AT_ONCE) as task:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(task, 10)
