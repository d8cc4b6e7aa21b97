"""The table: whatever the bridge does while keys change, callers hear the truth and no error, every key is kept, and
within one backoff of its recovery the bridge holds exactly what it should.

Two processes, and between them a wire that can be held and cut. Each row is played with all five changes at once.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from tests.services.convergence.changes import Heard, Subjects, advice, expected
from tests.services.convergence.outages import OUTAGES, Outage, Scene, recover
from tests.services.convergence.stage import LOOKS, Stage, longest_pause, until_reachable
from tests.support.probe import plain_channel
from tests.support.service_process import PATIENCE, StartService
from tests.support.wire import Wire

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class House:
    """Both services, which all rows of the table share."""

    stage: Stage
    wire: Wire
    hasty: "KeyServiceAsyncStub"
    patient: "KeyServiceAsyncStub"
    """One that waits for the bridge until it is cut off or dies, whatever has to be seen before that."""

    async def scene(self, outage: Outage) -> Scene:
        for stub in (self.hasty, self.patient):
            await until_reachable(stub)
        all_subjects = [await Subjects.prepare(self.patient) for _ in range(outage.clients)]
        if outage.hasty:
            all_subjects = [replace(subjects, stub=self.hasty) for subjects in all_subjects]
        return Scene(self.stage, self.wire, all_subjects)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(shared_url: str, start_shared_service: StartService) -> AsyncIterator[House]:
    async with Stage.on(shared_url, start_shared_service) as stage, Wire() as wire:
        wire.leads_to = (await stage.start_bridge()).port
        hasty = await stage.start_keyservice(wire.address)
        patient = await stage.start_keyservice(
            wire.address, KEYSERVICE_INLINE_BRIDGE_WAIT=f"{3 * PATIENCE:g}s"
        )
        async with plain_channel(hasty.port) as one, plain_channel(patient.port) as other:
            yield House(stage, wire, KeyServiceStub(one), KeyServiceStub(other))


@pytest.mark.parametrize("bridge", OUTAGES)
async def test_the_bridge(house: House, bridge: str) -> None:
    outage = OUTAGES[bridge]
    scene = await house.scene(outage)

    heard = await outage.happens(scene)
    for each in heard:
        require_the_truth(each, outage.reasons)
    for subjects in scene.all_subjects:
        await subjects.require_kept(house.stage, outage.reasons)
    if outage.acted is not None:
        assert await scene.bridge_is_as_wanted() == outage.acted

    await recover(scene)
    await house.stage.until_matched(await longest_pause(house.stage) + LOOKS)


def require_the_truth(heard: dict[str, Heard], reasons: tuple[str, ...]) -> None:
    """Each answer says whether the bridge holds the key, and otherwise why not and what to do."""
    reason_of = {change: each.said.reason for change, each in heard.items()}
    assert set(reason_of.values()) <= set(reasons)
    assert {change: each.said for change, each in heard.items()} == {
        change: expected(change, reason) for change, reason in reason_of.items()
    }
    for change, each in heard.items():
        for words in advice(change, each.said.reason):
            assert words in each.warning
        assert bool(each.warning) == bool(each.said.reason)
