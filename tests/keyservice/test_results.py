"""Outcomes on their way into the rows: nobody waits for ever for one that can't get there."""

import asyncio
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any, Never
from uuid import UUID

import grpc
import pytest
from sqlalchemy import text

from keyservice.bridge_records import Outcome
from keyservice.enums import BridgeReason, BridgeState
from keyservice.records import ApiKey, Caller
from keyservice.results import Results, backoff, result_of
from keyservice.store import convergence as store
from keyservice.store.convergence import Result
from keyservice.v1.client_pb2 import Client
from servicekit.database.engine import Database
from servicekit.errors import Unavailable
from tests.support.key_service import KeyService, key_request, refusal
from tests.support.logged import lines


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


@pytest.mark.parametrize(
    "meanwhile",
    [
        "attempt_count = 0",  # it was made due anew
        "bridge_state = 'configured'",  # who had the claim before was acknowledged
    ],
)
async def test_a_refusal_under_a_claim_that_is_over_says_nothing(
    service: KeyService, result: Result, meanwhile: str
) -> None:
    await service.sql(f"UPDATE exchange_api_keys SET bridge_reason = NULL, {meanwhile}")  # noqa: S608 - ours
    refused = Result(result.key, BridgeState.FAILED)
    assert await written(service.database, refused) == [None]


async def test_whoever_waits_hears_that_the_database_is_away(result: Result) -> None:
    told = await written(Faulty(Unavailable("It is away.")), result, result)
    assert [type(each) for each in told] == [Unavailable, Unavailable]


async def test_whoever_waits_hears_of_what_nobody_foresaw(result: Result) -> None:
    told = await written(Faulty(RuntimeError("a mistake of ours")), result, result)
    assert [type(each) for each in told] == [RuntimeError, RuntimeError]


async def test_a_mistake_of_ours_is_an_internal_error_and_the_log_says_which_it_was(
    service: KeyService, client: Client, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mistaken(*_: object, **__: object) -> Never:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(store, "write", mistaken)
    told = await refusal(service.stub.AddApiKey(key_request(client)))
    assert told.code is grpc.StatusCode.INTERNAL
    [line] = [line for line in lines(output) if line["event"] == "unforeseen error"]
    assert line["exception"].startswith("RuntimeError\n")


async def test_a_row_that_somebody_holds_keeps_no_other_ones_outcome_waiting(
    service: KeyService, client: Client
) -> None:
    keys = [await service.add_key(client, label=label) for label in "abc"]
    held, *others = [await service.custody.get(Caller("a test"), UUID(key.id)) for key in keys]
    results = Results(service.database)

    def write(key: ApiKey) -> asyncio.Task[ApiKey | None]:
        return asyncio.create_task(results.write(Result(key, BridgeState.CONFIGURED), urgent=True))

    async with service.database.transaction() as connection:
        await connection.execute(
            text("SELECT FROM exchange_api_keys WHERE id = :id FOR UPDATE"), {"id": held.id}
        )
        waiting = write(held)
        async with asyncio.timeout(10):
            for other in others:
                now = await write(other)
                assert now is not None
                assert now.configured
        assert not waiting.done()
    now = await waiting
    assert now is not None
    assert now.configured


async def test_who_tried_a_revision_that_is_no_more_is_not_told_what_came_of_a_later_one_in_the_same_batch(
    service: KeyService, client: Client
) -> None:
    async def now() -> ApiKey:
        return await service.custody.get(Caller("a test"), UUID(key.id))

    key = await service.add_key(client)
    before = await now()
    await service.rotate_key(key)
    after = await now()
    results = Results(service.database)
    told = await asyncio.gather(
        *(
            results.write(Result(each, BridgeState.CONFIGURED, instance_id="a run"), urgent=False)
            for each in (before, after)
        )
    )
    assert told[0] is None
    assert told[1] is not None
    assert (told[1].revision, told[1].configured) == (after.revision, True)


async def test_a_pause_that_is_named_is_kept_and_grows_where_it_is_the_bridge_that_has_too_much_to_do(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    named = timedelta(seconds=5)
    pauses = {
        reason: [
            result_of(
                replace(result.key, attempt_count=attempts), Outcome(reason, retry_after=named)
            ).again_in
            for attempts in (1, 4)
        ]
        for reason in (BridgeReason.RATE_LIMITED, BridgeReason.BRIDGE_UNAVAILABLE)
    }
    assert pauses == {
        BridgeReason.RATE_LIMITED: [named, named],
        BridgeReason.BRIDGE_UNAVAILABLE: [named + timedelta(seconds=2), named + timedelta(seconds=16)],
    }


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (16, 60), (10_000, 60)]
)
def test_pauses_are_spread_up_to_an_end_that_doubles_with_each_attempt_and_is_never_over_a_minute(
    monkeypatch: pytest.MonkeyPatch, attempts: int, seconds: int
) -> None:
    def lowest(low: float, _high: float) -> float:
        return low

    def highest(_low: float, high: float) -> float:
        return high

    for end, expected in ((lowest, 0), (highest, seconds)):
        monkeypatch.setattr("keyservice.results.random.uniform", end)
        assert backoff(attempts) == timedelta(seconds=expected)
