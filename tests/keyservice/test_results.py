"""What came of attempts: many results go into their rows in one statement, and each caller hears of his own."""

import asyncio
from uuid import UUID

from keyservice.enums import BridgeReason, BridgeState
from keyservice.records import ApiKey, Caller
from keyservice.results import Results
from keyservice.store.convergence import Result
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import KeyService


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


async def test_a_refusal_is_not_written_for_whom_another_claim_has_taken_the_place_of(
    service: KeyService, client: Client
) -> None:
    key = await service.add_key(client)
    found = await service.custody.get(Caller("a test"), UUID(key.id))
    await service.sql("UPDATE exchange_api_keys SET last_attempt_at = now()")
    refused = Result(found, BridgeState.FAILED, BridgeReason.CREDENTIALS_REJECTED)
    assert await Results(service.database).write(refused, urgent=True) is None
