"""Processes are killed under load, and nothing that was acknowledged is lost: a short run of ``make crash``."""

from collections.abc import AsyncIterator

import pytest

from tests.evidence.crash_safety import CrashRun
from tests.support.sealed import execute

KILLS, POSTGRES_KILLS, SEED = 5, 1, 3

TAMPERINGS = {
    "acknowledged_keys_lost": "DELETE FROM exchange_api_keys WHERE label = '{label}'",
    "keys_doubled": (
        "INSERT INTO exchange_api_keys (client_id, exchange, label, connector_name)"
        " SELECT client_id, 'okx', label, 'okx:' || label FROM exchange_api_keys LIMIT 1"
    ),
    "keys_unreadable": "UPDATE exchange_api_keys SET api_key = api_secret WHERE label = '{label}'",
    "contents_wrong": "UPDATE exchange_api_keys SET api_key = NULL WHERE label = '{label}'",
    "rotations_counted_wrong": "UPDATE exchange_api_keys SET secret_version = 99 WHERE label = '{label}'",
    "audit_events_missing": "DELETE FROM audit_events WHERE action = 'RotateApiKey'",
    "audit_events_surplus": (
        "INSERT INTO audit_events (principal, action, client_id, api_key_id, request_id)"
        " SELECT principal, action, client_id, api_key_id, request_id FROM audit_events"
        " WHERE action = 'AddApiKey' LIMIT 1"
    ),
}
"""What somebody does to the database afterwards, by the figure that has to tell it."""


@pytest.fixture
async def run() -> AsyncIterator[CrashRun]:
    async with CrashRun(SEED).prepared() as run:
        yield run


async def test_what_was_acknowledged_is_there_once_and_readable_after_crashes(run: CrashRun) -> None:
    await run.run(KILLS, POSTGRES_KILLS)
    assert (run.kills.service, run.kills.postgres) == (KILLS, POSTGRES_KILLS)
    assert min(run.kills.calls_in_flight) > 0
    assert run.journal.calls["added"] > KILLS
    assert run.journal.calls["rotated"] > KILLS
    assert run.journal.calls["unknown"] > 0
    assert (await run.findings()).wrong() == {}, run.unforeseen()
    await _tampering_is_told(run)


async def _tampering_is_told(run: CrashRun) -> None:
    """The control: a comparison that could not find anything would be worth nothing."""
    for figure, statement in TAMPERINGS.items():
        label = next(key.label for key in run.journal.keys.values() if key.id)
        async with run.database() as database:
            await execute(database, "CREATE SCHEMA kept")
            for table in ("exchange_api_keys", "audit_events"):
                await execute(database, f"CREATE TABLE kept.{table} AS TABLE {table}")
            await execute(database, statement.format(label=label))
            assert figure in (await run.findings()).wrong(), figure
            for table in ("exchange_api_keys", "audit_events"):
                await execute(database, f"DELETE FROM {table}")  # noqa: S608 - ours
                await execute(database, f"INSERT INTO {table} SELECT * FROM kept.{table}")  # noqa: S608 - ours
            await execute(database, "DROP SCHEMA kept CASCADE")
        assert (await run.findings()).wrong() == {}, figure
