"""What was held when a filter selected it is made due later as it is by then, and not as it was."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import and_, func, select, text

from keyservice.store import due_rows
from keyservice.store.bridge_states import WANTED
from keyservice.store.due_rows import Selected
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import KeyService

GATE = 4711
"""An advisory lock: a statement that waits for it sees what was so before."""
REMOVED = "bridge_state = 'removed', bridge_reason = NULL, next_attempt_at = NULL"
DELETED = f"is_deleted = true, deleted_at = now(), {REMOVED}"
DISABLED = f"disabled = true, {REMOVED}"


@pytest.fixture
async def key(service: KeyService, client: Client) -> ApiKey:
    """One that was tried a while ago, and whose next attempt is a while off, as no bridge is there."""
    key = await service.add_key(client)
    await change(
        service, "last_attempt_at = now() - interval '1 hour', next_attempt_at = now() + interval '1 hour'"
    )
    return key


async def make_due(service: KeyService, key: ApiKey) -> Selected:
    """As for a key that somebody held when it was selected a minute ago."""
    async with service.database.autocommit() as connection:
        since = await due_rows.clock(connection) - timedelta(minutes=1)
        return await due_rows.make_held_due(connection, [UUID(key.id)], since=since, only_unconfigured=False)


async def change(service: KeyService, meanwhile: str) -> None:
    await service.sql(f"UPDATE exchange_api_keys SET {meanwhile}")  # noqa: S608 - ours


@pytest.mark.parametrize("meanwhile", [DELETED, DISABLED], ids=["deleted", "disabled"])
async def test_a_key_that_is_not_wanted_any_more_by_then_is_not_made_due(
    service: KeyService, key: ApiKey, meanwhile: str
) -> None:
    await change(service, meanwhile)
    before = await service.row(key)
    assert await make_due(service, key) == Selected([], [])
    assert await service.row(key) == before


async def test_a_key_that_is_under_way_by_then_is_left_to_its_holder_as_the_first_attempt_from_now_on(
    service: KeyService, key: ApiKey
) -> None:
    await change(
        service,
        "bridge_reason = NULL, attempt_count = 7, last_attempt_at = clock_timestamp(),"
        " next_attempt_at = clock_timestamp() + interval '1 minute'",
    )
    before = await service.row(key)
    assert await make_due(service, key) == Selected([UUID(key.id)], [])
    after = await service.row(key)
    assert after._mapping == {**before._mapping, "attempt_count": 1}


@pytest.mark.parametrize("meanwhile", [DELETED, DISABLED], ids=["deleted", "disabled"])
async def test_a_key_that_is_removed_after_it_was_looked_for_and_before_it_is_got_hold_of_stays_removed(
    service: KeyService, key: ApiKey, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    passed = select(func.pg_advisory_xact_lock_shared(GATE)).scalar_subquery()
    monkeypatch.setattr(due_rows, "WANTED", and_(passed.is_not(None), WANTED))
    async with service.database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:gate)"), {"gate": GATE})
        making = asyncio.create_task(make_due(service, key))
        waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = :gate AND NOT granted"
        async with asyncio.timeout(10):
            while not await service.sql(waiting, gate=GATE):  # noqa: ASYNC110 - the database has no event of ours
                await asyncio.sleep(0.02)
        await connection.execute(text(f"UPDATE exchange_api_keys SET {meanwhile}"))  # noqa: S608 - ours
    assert await making == Selected([], [UUID(key.id)])
    row = await service.row(key)
    assert (row.bridge_state, row.next_attempt_at) == ("removed", None)
