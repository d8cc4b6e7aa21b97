"""The bridge is killed while orders are placed, and none is doubled or lost: a short run of `make chaos`."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.evidence.order_kills import OrderRun
from tests.evidence.order_moments import PLACES, Moment

KILLS, SEED = len(Moment), 3
"""Each moment of the crash table once."""

TAMPERINGS = {
    "orders_lost": "UPDATE bridge.orders SET exchange_order_id = NULL, state = 'rejected' WHERE {order}",
    "orders_imagined": "UPDATE bridge.orders SET exchange_order_id = 'nowhere' WHERE {order}",
    "orders_told_wrongly": "UPDATE bridge.orders SET state = 'canceled' WHERE {order}",
    "orders_unsettled": "UPDATE bridge.orders SET state = 'unknown', next_check_at = now() WHERE {order}",
    "answers_lost": "DELETE FROM bridge.orders WHERE {order}",
}
"""What somebody does to the journal afterwards, by the figure that has to tell it."""


@pytest.fixture
async def run() -> AsyncIterator[OrderRun]:
    async with OrderRun(SEED).prepared() as run:
        yield run


@pytest.mark.timeout(300)
async def test_no_order_is_doubled_or_lost_whenever_the_bridge_dies(run: OrderRun) -> None:
    await run.run(KILLS)
    assert run.kills == dict.fromkeys((moment.value for moment in Moment), 1)
    assert min(run.in_flight) > 0
    assert all(run.simulator.orders(exchange) for exchange in PLACES)
    assert run.calls()["unknown"] > 0
    assert (await run.findings()).wrong() == {}, (run.unforeseen(), run.refusals())
    await _tampering_is_told(run)


async def _tampering_is_told(run: OrderRun) -> None:
    """The control: a comparison that could not find anything would be worth nothing."""
    trader = next(each for each in run.traders if run.simulator.account(each.keys).select(is_open=True))
    account = run.simulator.account(trader.keys)
    resting = account.select(is_open=True)[0]
    for figure, statement in TAMPERINGS.items():
        async with run.database() as database, database.autocommit() as connection:

            async def sql(text_of_it: str, on: AsyncConnection = connection) -> None:
                await on.execute(text(text_of_it.format(order=f"exchange_order_id = '{resting.id}'")))

            await sql("CREATE TABLE bridge.kept AS SELECT * FROM bridge.orders WHERE {order}")
            await sql(statement)
            assert figure in (await run.findings()).wrong(), figure
            await sql("DELETE FROM bridge.orders WHERE id IN (SELECT id FROM bridge.kept)")
            await sql("INSERT INTO bridge.orders SELECT * FROM bridge.kept")
            await sql("DROP TABLE bridge.kept")
        assert (await run.findings()).wrong() == {}, figure
    account.orders["again"] = resting
    assert "orders_doubled" in (await run.findings()).wrong()
    del account.orders["again"]
    next(each for each in trader.intents.values() if each.answers).answers.add("another")
    assert "answers_doubled" in (await run.findings()).wrong()
