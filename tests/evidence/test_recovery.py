"""A bridge that was killed gets all of its keys back, beside users who go on calling: a short run of ``make chaos``."""

import grpc

from servicekit.database.url import DatabaseUrl
from tests.evidence.recovery import Recovery
from tests.support.service_process import StartService, raw_url

KEYS, RATE, PATIENCE = 300, 20, 60


async def test_all_keys_are_back_after_the_bridge_and_then_both_were_killed(
    database_url: DatabaseUrl, start_service: StartService
) -> None:
    url = raw_url(database_url)
    async with Recovery.prepared(url, start_service, KEYS, rate=RATE, patience=PATIENCE) as recovery:
        alone = await recovery.once(kill_service=False)
        assert {each.code for each in alone.calls} == {grpc.StatusCode.OK}
        both = await recovery.once(kill_service=True)
        assert {each.code for each in both.undisturbed} == {grpc.StatusCode.OK}
        told = recovery.interactive.told
        assert told["added and configured"] > 0
        assert told["read"] > 0
        assert not recovery.interactive.misled, told
