"""The bridge is killed while orders are placed, and none is doubled or lost: a short run of `make chaos`."""

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text

from tests.evidence.order_kills import OrderRun
from tests.evidence.order_moments import PLACES, Moment
from tests.simulator.accounts import Account

KILLS, SEED = len(Moment), 3
"""Each moment of the crash table once."""

TAMPERINGS = {
    "orders_lost": "UPDATE bridge.orders SET exchange_order_id = NULL, state = 'rejected' WHERE id = '{id}'",
    "orders_imagined": "UPDATE bridge.orders SET exchange_order_id = 'nowhere' WHERE id = '{id}'",
    "orders_told_wrongly": "UPDATE bridge.orders SET state = 'canceled' WHERE id = '{id}'",
    "orders_unsettled": "UPDATE bridge.orders SET state = 'unknown', next_check_at = now() WHERE id = '{id}'",
    "answers_lost": "DELETE FROM bridge.orders WHERE id = '{id}'",
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
            found = await connection.execute(
                text("SELECT id FROM bridge.orders WHERE exchange_order_id = :id"), {"id": resting.id}
            )
            order_id = found.scalar_one()
            await connection.execute(text("CREATE TABLE bridge.kept AS TABLE bridge.orders"))
            await connection.execute(text(statement.format(id=order_id)))
            assert figure in (await run.findings()).wrong(), figure
            await connection.execute(text("DELETE FROM bridge.orders"))
            await connection.execute(text("INSERT INTO bridge.orders SELECT * FROM bridge.kept"))
            await connection.execute(text("DROP TABLE bridge.kept"))
    await _is_told(run, "orders_doubled", lambda: account.orders.update(again=resting), account)
    intent = next(each for each in trader.intents.values() if each.answers)
    intent.answers.add("another")
    assert "answers_doubled" in (await run.findings()).wrong()


async def _is_told(run: OrderRun, figure: str, tamper: Callable[[], None], account: Account) -> None:
    tamper()
    assert figure in (await run.findings()).wrong()
    account.orders.pop("again")
    assert (await run.findings()).wrong() == {}
