"""The rows of the table: what can happen to a bridge, or to the way to it, while keys change."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.services.convergence.changes import CHANGES, Heard, Subjects
from tests.services.convergence.stage import Stage
from tests.support.service_process import PATIENCE
from tests.support.wire import Wire


@dataclass
class Scene:
    """What a row of the table is played with."""

    stage: Stage
    wire: Wire
    all_subjects: list[Subjects]

    @property
    def subjects(self) -> Subjects:
        return self.all_subjects[0]

    async def start_bridge(self) -> None:
        self.wire.leads_to = (await self.stage.start_bridge()).port

    async def until_all_are_under_way(self) -> None:
        """Wait until KeyService has stored all five changes, and is about to tell the bridge of them."""
        statement = (
            "SELECT id FROM exchange_api_keys WHERE 'client_' || client_id = :account AND attempt_count = 1"
            " AND bridge_state IN ('pending', 'removing') AND bridge_reason IS NULL"
        )
        async with asyncio.timeout(PATIENCE):
            while len(await self.stage.sql(statement, account=self.subjects.account)) < len(CHANGES):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def until_the_bridge_has_acted(self) -> None:
        """Wait until it holds what the changed rows say, although nobody has heard of it."""
        async with asyncio.timeout(PATIENCE):
            while not await self.bridge_is_as_wanted():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)

    async def bridge_is_as_wanted(self) -> bool:
        """Whether it holds of this account what the rows say, acknowledged or not."""
        held, wanted = await self.stage.held(), await self.stage.wanted()
        mine = {place: revision for place, revision in wanted.items() if place[0] == self.subjects.account}
        return mine == {place: each for place, each in held.items() if place[0] == self.subjects.account}


Happening = Callable[[Scene], Awaitable[list[dict[str, Heard]]]]


async def is_up(scene: Scene) -> list[dict[str, Heard]]:
    return [await scene.subjects.change_all()]


async def is_down(scene: Scene) -> list[dict[str, Heard]]:
    await scene.stage.kill_bridge()
    return [await scene.subjects.change_all()]


async def hangs(scene: Scene) -> list[dict[str, Heard]]:
    assert scene.stage.bridge is not None
    scene.stage.bridge.terminate(signal.SIGSTOP)
    return [await scene.subjects.change_all()]


async def is_restarted(scene: Scene) -> list[dict[str, Heard]]:
    """As at every release: changes go on while it ends, is away, and begins."""
    assert scene.stage.bridge is not None
    old = scene.stage.bridge
    old.terminate()
    heard = [await subjects.change_all() for subjects in scene.all_subjects[:-1]]
    await asyncio.to_thread(old.status)
    starting = asyncio.create_task(scene.start_bridge())
    heard.append(await scene.all_subjects[-1].change_all())
    await starting
    return heard


async def dies_before_it_acts(scene: Scene) -> list[dict[str, Heard]]:
    scene.wire.hold_requests()
    changes = asyncio.create_task(scene.subjects.change_all())
    await scene.until_all_are_under_way()
    await scene.stage.kill_bridge()
    await scene.wire.cut()
    return [await changes]


async def dies_after_it_acted(scene: Scene) -> list[dict[str, Heard]]:
    scene.wire.hold_answers()
    changes = asyncio.create_task(scene.subjects.change_all())
    await scene.until_all_are_under_way()
    await scene.until_the_bridge_has_acted()
    await scene.stage.kill_bridge()
    await scene.wire.cut()
    return [await changes]


async def is_cut_off_before_it_acts(scene: Scene) -> list[dict[str, Heard]]:
    scene.wire.hold_requests()
    changes = asyncio.create_task(scene.subjects.change_all())
    await scene.until_all_are_under_way()
    scene.wire.leads_to = 0
    await scene.wire.cut()
    return [await changes]


async def is_cut_off_after_it_acted(scene: Scene) -> list[dict[str, Heard]]:
    scene.wire.hold_answers()
    changes = asyncio.create_task(scene.subjects.change_all())
    await scene.until_all_are_under_way()
    await scene.until_the_bridge_has_acted()
    scene.wire.leads_to = 0
    await scene.wire.cut()
    return [await changes]


async def acts_and_answers_too_late(scene: Scene) -> list[dict[str, Heard]]:
    scene.wire.hold_answers()
    heard = await scene.subjects.change_all()
    await scene.until_the_bridge_has_acted()
    return [heard]


@dataclass(frozen=True)
class Outage:
    """A row of the table."""

    happens: Happening
    reasons: tuple[str, ...]
    """What callers may hear; the empty reason is that all went well."""
    acted: bool | None
    """Whether the bridge holds the changes before anything is put right; None where it can't be asked."""
    clients: int = 1
    """How many clients' keys are changed."""
    hasty: bool = False
    """Whether callers wait for a moment only. The others wait for as long as it takes until it has happened."""


OUTAGES = {
    # the bridge …                  what happens                what callers hear of it    it has acted
    "is up": Outage(is_up, ("",), acted=True),
    "is down": Outage(is_down, ("BRIDGE_UNAVAILABLE",), acted=None),
    "hangs": Outage(hangs, ("BRIDGE_TIMEOUT",), acted=None, hasty=True),
    "is restarted": Outage(is_restarted, ("", "BRIDGE_UNAVAILABLE"), acted=None, clients=5),
    "dies before it acts": Outage(dies_before_it_acts, ("BRIDGE_UNAVAILABLE",), acted=None),
    "dies after it acted": Outage(dies_after_it_acted, ("BRIDGE_UNAVAILABLE",), acted=None),
    "is cut off before it acts": Outage(is_cut_off_before_it_acts, ("BRIDGE_UNAVAILABLE",), acted=False),
    "is cut off after it acted": Outage(is_cut_off_after_it_acted, ("BRIDGE_UNAVAILABLE",), acted=True),
    "is slow past the deadline": Outage(
        acts_and_answers_too_late, ("BRIDGE_TIMEOUT",), acted=True, hasty=True
    ),
}


async def recover(scene: Scene) -> None:
    """The bridge is there again, and so is the way to it."""
    bridge = scene.stage.bridge
    assert bridge is not None
    if bridge.process.poll() is None:
        bridge.terminate(signal.SIGCONT)
        scene.wire.leads_to = bridge.port
    else:
        await scene.start_bridge()
    scene.wire.release()
