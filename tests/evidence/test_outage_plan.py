"""An outage at 200,000 keys that are all due: a claim that can't send them does not read them all to find what it can.

The statements are those that the store really sends, explained as in ``test_convergence_plan``.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from keyservice.store import due_claims
from keyservice.store.due_claims import BEGINNING
from servicekit.database.engine import Connection, Database
from tests.evidence.filled import filled_server, one_connection
from tests.evidence.plans import explained
from tests.support.postgres import ThrowAwayPostgres

ROWS, AWAY, OTHERS, AFRESH = 200_000, 10_000, 500, 10
AT_ONCE = 32
STRETCH = due_claims._STRETCH
LEASE = timedelta(seconds=35)
# As PostgreSQL writes a row, it reads a few pages of each of the table's indexes.
BUFFERS_A_WRITE = 100

# All keys are due, each for longer than the next, and they lie in the table in no order. One in 400 is of a client for
# whom the bridge is there, and a few are of those for whom it is not, but have not been tried yet.
FILL = f"""
INSERT INTO clients (id, name) SELECT lpad(to_hex(n), 32, '0')::uuid, 'client ' || n
  FROM generate_series(1, {AWAY + OTHERS}) n;
INSERT INTO exchange_api_keys (client_id, exchange, label, connector_name, bridge_state, bridge_reason, attempt_count,
                               last_attempt_at, next_attempt_at)
SELECT lpad(to_hex(CASE n % {ROWS // OTHERS} WHEN 0 THEN {AWAY} + n / {ROWS // OTHERS} ELSE 1 + n % {AWAY} END), 32,
            '0')::uuid,
       'kraken', 'label ' || n, 'connector ' || n, 'pending',
       CASE WHEN n % {ROWS // AFRESH} <> 1 THEN 'bridge_unavailable' END, 2,
       now() - interval '2 hours', now() - interval '1 hour' + n * interval '10 milliseconds'
  FROM generate_series(1, {ROWS}) n
 ORDER BY md5(n::text);
"""  # noqa: S608 - figures of ours


@pytest.fixture(scope="module")
def full_server() -> Iterator[ThrowAwayPostgres]:
    with filled_server("custody", FILL, "exchange_api_keys") as server:
        yield server


@pytest.fixture
async def database(full_server: ThrowAwayPostgres) -> AsyncIterator[Database]:
    async with one_connection(full_server, "custody") as database:
        yield database


@pytest.fixture(params=[False, True], ids=["planned for these parameters", "planned for any"])
def generic(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


away_for = [UUID(int=1 + n) for n in range(AWAY)]
claim_stretch = partial(due_claims.claim_stretch, limit=AT_ONCE, lease=LEASE, away_for=away_for)


async def test_while_nobody_is_there_what_is_not_tried_yet_is_found_without_a_look_at_the_rest(
    database: Database, generic: bool
) -> None:
    [plan] = await explained(
        database,
        lambda c: due_claims.claim_due(c, limit=AT_ONCE, lease=LEASE, releases=False, afresh=True),
        generic=generic,
    )
    assert plan.rows == AFRESH
    assert plan.discarded == 0
    assert plan.indexes == {"ix_exchange_api_keys_due_afresh", "pk_exchange_api_keys"}
    assert plan.buffers < AFRESH * BUFFERS_A_WRITE


async def test_while_the_bridge_is_away_for_most_a_claim_looks_at_a_stretch_of_what_is_due(
    database: Database, generic: bool
) -> None:
    end, claim = await explained(database, partial(claim_stretch, after=BEGINNING), generic=generic)
    found = STRETCH * OTHERS // ROWS
    assert (end.rows, claim.rows) == (1, found + AFRESH)
    assert (end.discarded, claim.discarded) == (0, STRETCH - found)
    assert end.indexes == {"ix_exchange_api_keys_due"}
    assert claim.indexes == {
        "ix_exchange_api_keys_due",
        "ix_exchange_api_keys_due_afresh",
        "pk_exchange_api_keys",
    }
    assert "Seq Scan" not in end.nodes | claim.nodes
    assert end.buffers < 1.1 * STRETCH
    assert claim.buffers < 1.1 * STRETCH + claim.rows * BUFFERS_A_WRITE


async def test_all_that_can_be_sent_is_claimed_in_a_few_stretches(database: Database) -> None:
    async with database.transaction() as connection:
        claimed = await claims_until_the_beginning(connection)
        await connection.rollback()
    assert sum(map(len, claimed)) == OTHERS + AFRESH
    assert len(claimed) <= ROWS // STRETCH + 1


async def claims_until_the_beginning(connection: Connection) -> list[list[UUID]]:
    claimed: list[list[UUID]] = []
    after = BEGINNING
    while not claimed or after != BEGINNING:
        stretch = await claim_stretch(connection, after=after)
        claimed.append([each.key.id for each in stretch.claimed])
        after = stretch.next
    return claimed
