"""Outcomes on their way into the rows: nobody waits for ever for one that can't get there."""

import asyncio
from typing import Any, Never
from uuid import UUID

import pytest

from keyservice.enums import BridgeState
from keyservice.records import Caller
from keyservice.results import Results
from keyservice.store.convergence import Result
from servicekit.database.engine import Database
from servicekit.errors import Unavailable
from tests.support.key_service import KeyService


class Faulty:
    """A database that can't be written to, for a reason."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def autocommit(self) -> Never:
        raise self._error


@pytest.fixture
async def result(service: KeyService) -> Result:
    key = await service.add_key(await service.add_client())
    return Result(await service.custody.get(Caller("a test"), UUID(key.id)), BridgeState.PENDING)


async def written(database: Any, *results: Result) -> list[object]:
    into = Results(database)
    writes = [into.write(each, urgent=True) for each in results]
    async with asyncio.timeout(10):
        return await asyncio.gather(*writes, return_exceptions=True)


async def test_an_outcome_of_a_claim_that_one_does_not_hold_says_nothing(
    service: KeyService, result: Result
) -> None:
    lost = Result(await service.custody.get(Caller("a test"), result.key.id), BridgeState.FAILED)
    await service.sql("UPDATE exchange_api_keys SET last_attempt_at = now()")
    database: Database = service.database
    assert await written(database, lost, lost) == [None, None]


async def test_whoever_waits_hears_that_the_database_is_away(result: Result) -> None:
    told = await written(Faulty(Unavailable("It is away.")), result, result)
    assert [type(each) for each in told] == [Unavailable, Unavailable]


async def test_nobody_waits_for_ever_after_what_nobody_foresaw(result: Result) -> None:
    told = await written(Faulty(RuntimeError("a mistake of ours")), result, result)
    assert [type(each) for each in told] == [asyncio.CancelledError, asyncio.CancelledError]
