"""The table of reconciliations: a connector is one's own to compare until the claim is over, and no moment longer."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from bridgeservice.records import Place
from bridgeservice.store import accounts
from bridgeservice.store import reconciliations as store
from bridgeservice.store.reconciliations import Due, Pace
from servicekit.database.engine import Database
from servicekit.errors import Aborted

NOW = timedelta(0)
LATER = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
async def place(database: Database) -> Place:
    place = (f"client_{uuid4()}", "kraken")
    async with database.transaction() as connection:
        await accounts.ensure(connection, place[0])
        await store.begin(connection, [place])
    return place


async def claimed(database: Database, place: Place, lease: timedelta) -> list[Due]:
    async with database.autocommit() as connection:
        return await store.claim(connection, [place], Pace(NOW, NOW, NOW, lease), 10)


async def row(database: Database, due: Due) -> tuple[object, ...]:
    statement = text(
        "SELECT claimed_until, reconciled_at, backfilled_at, cursors FROM bridge.reconciliations"
        " WHERE account_id = :account"
    )
    async with database.autocommit() as connection:
        return tuple((await connection.execute(statement, {"account": due.account_id})).one())


async def test_a_claim_is_one_ones_own_until_it_is_given_back(database: Database, place: Place) -> None:
    [due] = await claimed(database, place, timedelta(minutes=1))
    assert await claimed(database, place, timedelta(minutes=1)) == []
    async with database.autocommit() as connection:
        await store.move(connection, due, "BTC/USDT", LATER)
        await store.release(connection, due, done=False)
    [again] = await claimed(database, place, timedelta(minutes=1))
    assert again.cursors == {"BTC/USDT": LATER.isoformat()}


@pytest.mark.parametrize("done", [True, False])
async def test_who_lost_a_claim_writes_nothing_and_gives_nothing_back(
    database: Database, place: Place, *, done: bool
) -> None:
    [lost] = await claimed(database, place, NOW)
    [own] = await claimed(database, place, timedelta(minutes=1))
    before = await row(database, own)
    with pytest.raises(Aborted) as refused:
        async with database.transaction() as connection:
            await store.move(connection, lost, "BTC/USDT", LATER)
    assert refused.value.reason == "CLAIM_LOST"
    async with database.autocommit() as connection:
        await store.release(connection, lost, done=done, again_in=timedelta(minutes=9))
    assert await row(database, own) == before
    assert await claimed(database, place, timedelta(minutes=1)) == []
