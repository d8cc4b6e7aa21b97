"""Work that outlives whoever asked for it, but not the service."""

import asyncio
from datetime import timedelta

import pytest

from servicekit.work import Work

IMPATIENT = timedelta(milliseconds=1)


async def test_it_goes_on_when_whoever_waits_for_it_is_cancelled() -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        await go_on.wait()
        done.set()

    work = Work(timedelta(seconds=10))
    waiting = asyncio.create_task(asyncio.wait({work.start(act())}))
    await asyncio.sleep(0)
    waiting.cancel()
    async with work:
        go_on.set()
    assert done.is_set()


async def test_the_end_waits_for_it_and_gives_its_result() -> None:
    async with Work(timedelta(seconds=10)) as work:
        task = work.start(asyncio.sleep(0.01, "done"))
    assert task.result() == "done"


async def test_the_end_waits_for_what_it_begins_itself_at_the_end() -> None:
    done = asyncio.Event()

    async def act() -> None:
        await asyncio.sleep(0.01)
        done.set()

    async def begin() -> None:
        work.start(act())

    async with Work(timedelta(seconds=10)) as work:
        work.start(begin())
    assert done.is_set()


async def test_what_takes_too_long_is_cancelled_at_the_end() -> None:
    async with Work(IMPATIENT) as work:
        task = work.start(asyncio.Event().wait())
    assert task.cancelled()


async def test_a_failure_is_its_own() -> None:
    async def fail() -> None:
        raise LookupError

    async with Work(timedelta(seconds=10)) as work:
        task = work.start(fail())
    with pytest.raises(LookupError):
        await task
