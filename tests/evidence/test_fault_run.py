"""Whatever happens, it ends with the bridge holding just what it should: a short run of ``make chaos``."""

from collections.abc import AsyncIterator

import pytest

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from servicekit.database.url import DatabaseUrl
from tests.evidence.fault_run import FaultRun
from tests.evidence.fault_steps import FAULTS, draw
from tests.support.probe import plain_channel
from tests.support.service_process import StartService, raw_url

STEPS, QUIET_EVERY, SEED = 40, 20, 5
AT_ONCE = 1.0
"""Seconds: nothing of what somebody does to a run that is over heals."""


@pytest.fixture
async def run(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[FaultRun]:
    async with FaultRun.prepared(raw_url(database_url), start_service, SEED) as run:
        yield run


def test_a_seed_repeats_its_steps_and_each_fault_is_among_them() -> None:
    steps = draw(SEED, STEPS)
    assert steps == draw(SEED, STEPS)
    assert steps != draw(SEED + 1, STEPS)
    assert {step.what for step in steps} >= set(FAULTS)
    assert [step.number for step in steps] == list(range(1, STEPS + 1))


@pytest.mark.timeout(400)  # each time it is quiet, a key may be waiting for a minute
async def test_callers_rows_and_the_bridge_agree_whatever_happened(run: FaultRun) -> None:
    await run.run(STEPS, quiet_every=QUIET_EVERY)
    await run.require_credentials()
    assert run.happenings.count.keys() == set(FAULTS)
    assert len(run.settled) == STEPS // QUIET_EVERY + 1
    assert run.callers.outcomes["configured"] > 0
    await _tampering_is_told(run)


async def _tampering_is_told(run: FaultRun) -> None:
    """The control: a comparison that could not find anything would be worth nothing."""
    await run.quiet(within=AT_ONCE)
    (account, name), revision = next(iter((await run.stage.held()).items()))
    assert run.stage.bridge is not None
    async with plain_channel(run.stage.bridge.port) as channel:
        bridge = TradingBridgeStub(channel)
        extra = bridge_pb.AddConnectorRequest(
            account_name=account, connector_name="extra", exchange="paper", revision=1
        )
        await bridge.AddConnector(extra)
        with pytest.raises(AssertionError, match="extra"):
            await run.quiet(within=AT_ONCE)
        await bridge.RemoveConnector(
            bridge_pb.RemoveConnectorRequest(account_name=account, connector_name="extra", revision=1)
        )
        await run.quiet(within=AT_ONCE)
        missing = bridge_pb.RemoveConnectorRequest(
            account_name=account, connector_name=name, revision=revision
        )
        await bridge.RemoveConnector(missing)
        with pytest.raises(AssertionError, match=name):
            await run.quiet(within=AT_ONCE)
