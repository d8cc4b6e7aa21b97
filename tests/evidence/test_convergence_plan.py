"""Convergence at 200,000 keys: what runs every second, or for every key, is led by an index to the rows that it means.

The statements are those that the store really sends, caught on their way and explained with their own parameters.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from keyservice.records import Caller
from keyservice.store import api_key_lists, due_claims, due_rows, rolling_check
from servicekit.database.engine import Connection, Database
from tests.evidence.filled import filled_server, one_connection
from tests.evidence.plans import Plan, explained
from tests.support.postgres import ThrowAwayPostgres

ROWS, CLIENTS = 200_000, 20_000
DUE, LATER, LOST, FAILED = 400, 800, 200, 200
AT_ONCE = 32
CLIENT = UUID(int=7)
LEASE = timedelta(seconds=35)
# As PostgreSQL writes a row, it reads a few pages of each of the table's indexes.
BUFFERS_A_WRITE = 100

# One key in ten is gone; a few hundred wait for a bridge that was away, the half of them due, a few have failed, and a
# few were acknowledged by a run of the bridge that is gone.
FILL = f"""
INSERT INTO clients (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, 'client ' || n
  FROM generate_series(1, {CLIENTS}) n;
INSERT INTO exchange_api_keys (client_id, exchange, label, connector_name, created_at, is_deleted, deleted_at,
                               bridge_state, bridge_reason, attempt_count, last_attempt_at, next_attempt_at,
                               configured_instance)
SELECT lpad(to_hex(1 + n % {CLIENTS}), 32, '0')::uuid, 'kraken', 'label ' || n, 'connector ' || n,
       timestamptz '2026-01-01' + make_interval(secs => n / 3),
       state = 'removed', CASE WHEN state = 'removed' THEN now() END,
       state,
       CASE state WHEN 'pending' THEN 'bridge_unavailable' WHEN 'failed' THEN 'credentials_rejected' END,
       CASE WHEN state = 'pending' THEN 2 ELSE 0 END,
       CASE WHEN state = 'pending' THEN now() - interval '2 hours' END,
       CASE WHEN state = 'pending' THEN now() + make_interval(hours => CASE WHEN n % 500 = 7 THEN -1 ELSE 1 END) END,
       CASE WHEN state = 'configured' THEN CASE WHEN n % 1000 = 3 THEN 'a lost run' ELSE 'the run' END END
  FROM (SELECT n, CASE WHEN n % 10 = 4 THEN 'removed' WHEN n % 500 IN (7, 107, 207) THEN 'pending'
                       WHEN n % 1000 = 23 THEN 'failed' ELSE 'configured' END AS state
          FROM generate_series(1, {ROWS}) n) keys;
"""  # noqa: S608 - figures of ours


Work = Callable[[Connection], Awaitable[object]]
PlansOf = Callable[[Work], Awaitable[list[Plan]]]


@pytest.fixture(scope="module")
def full_server() -> Iterator[ThrowAwayPostgres]:
    with filled_server("custody", FILL, "exchange_api_keys") as server:
        yield server


@pytest.fixture
async def database(full_server: ThrowAwayPostgres) -> AsyncIterator[Database]:
    async with one_connection(full_server, "custody") as database:
        yield database


@pytest.fixture(params=[False, True], ids=["planned for these parameters", "planned for any"])
def plans(database: Database, request: pytest.FixtureRequest) -> PlansOf:
    """Explains all statements of some work."""
    return partial(explained, database, generic=request.param)


async def one(plans: PlansOf, work: Work) -> Plan:
    """The plan of the one statement of it."""
    [plan] = await plans(work)
    return plan


async def test_what_is_due_is_claimed_by_its_time(plans: PlansOf) -> None:
    plan = await one(plans, lambda c: due_claims.claim_due(c, limit=AT_ONCE, lease=LEASE, releases=False))
    assert plan.rows == AT_ONCE
    assert plan.discarded == 0
    assert plan.indexes == {"ix_exchange_api_keys_due", "pk_exchange_api_keys"}
    assert "Seq Scan" not in plan.nodes
    assert plan.buffers < AT_ONCE * BUFFERS_A_WRITE


async def test_which_runs_of_the_bridge_hold_keys_is_a_few_steps_in_an_index(plans: PlansOf) -> None:
    steps = await plans(lambda c: due_rows.example_of_each_run(c, besides="the run"))
    assert [plan.rows for plan in steps] == [1, 1, 0]
    for plan in steps:
        assert plan.nodes == {"Limit", "Index Scan"}
        assert plan.indexes == {"ix_exchange_api_keys_configured_instance"}
        assert plan.discarded == 0
        assert plan.buffers < 10


@pytest.mark.parametrize(("run", "lost"), [("a lost run", LOST), ("nobody", 0)])
async def test_what_a_lost_run_held_is_made_due_without_a_look_at_the_rest(
    database: Database, plans: PlansOf, run: str, lost: int
) -> None:
    async with database.autocommit() as connection:
        found = await due_rows.example_of_each_run(connection, besides="the run")
    assert [each.instance_id for each in found] == ["a lost run"]
    plan = await one(plans, lambda c: due_rows.suspect(c, instance_id=run, limit=1000))
    assert plan.discarded == 0
    assert plan.indexes == {"ix_exchange_api_keys_configured_instance", "pk_exchange_api_keys"}
    assert "Seq Scan" not in plan.nodes
    assert plan.buffers < 10 + lost * BUFFERS_A_WRITE


async def test_what_waits_for_the_bridge_to_be_back_is_found_among_what_waits(plans: PlansOf) -> None:
    plan = await one(plans, lambda c: due_rows.hurry(c, tried_before=datetime.now(UTC), limit=1000))
    assert plan.discarded <= DUE + LATER
    assert "Seq Scan" not in plan.nodes
    assert plan.buffers < 20 + (DUE + LATER) * BUFFERS_A_WRITE


async def test_the_keys_are_counted_by_indexes_that_hold_no_others(
    database: Database, plans: PlansOf, full_server: ThrowAwayPostgres
) -> None:
    # What other tests wrote and took back would have to be looked at in the table, as long as nobody has cleared it.
    full_server.sql("VACUUM exchange_api_keys", "custody")
    plan = await one(plans, lambda c: api_key_lists.count(c, Caller("anyone")))
    assert plan.discarded == 0
    assert "Seq Scan" not in plan.nodes
    assert "ix_exchange_api_keys_configured_instance" in plan.indexes
    async with database.autocommit() as connection:
        counts = await api_key_lists.count(connection, Caller("anyone"))
    assert (counts.waiting, counts.failed) == (DUE + LATER, FAILED)
    mine = await one(plans, lambda c: api_key_lists.count(c, Caller("one", clients=frozenset({CLIENT}))))
    assert "Seq Scan" not in mine.nodes
    assert mine.buffers < 100


async def test_the_rolling_check_reads_its_clients_in_order_and_each_ones_keys_by_themselves(
    plans: PlansOf,
) -> None:
    for after in (UUID(int=0), UUID(int=CLIENTS // 2)):
        page = await one(plans, partial(rolling_check.clients_with_keys, after=after, size=500))
        assert page.rows == 500
        assert page.indexes == {"ix_exchange_api_keys_client"}
        assert "Seq Scan" not in page.nodes
    keys = await one(plans, partial(rolling_check.expected, client_id=CLIENT))
    assert keys.indexes == {"ix_exchange_api_keys_client_live"}
    assert keys.discarded == 0
    assert keys.buffers < 50
