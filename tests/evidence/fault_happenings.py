"""What befalls the services in a fault run, and how it passes: kills, broken ways, a slow exchange."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Self

from tests.evidence.crash_clients import Line
from tests.evidence.fault_steps import REPLICAS, Step, What
from tests.services.convergence.stage import INLINE_WAIT, Stage
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import Simulator
from tests.support.service_process import ServiceProcess
from tests.support.wire import Wire

# Longer than a caller is made to wait.
_SLOW_SECONDS = INLINE_WAIT + 0.5


class Happenings:
    """The bridge, some KeyServices, and a wire from each of them to it."""

    def __init__(self, stage: Stage, simulator: Simulator, **bridge_settings: str) -> None:
        self._stage = stage
        self._simulator = simulator
        self._bridge_settings = bridge_settings
        self._wires = [Wire() for _ in range(REPLICAS)]
        self.lines = [Line() for _ in range(REPLICAS)]
        self._services: list[ServiceProcess | None] = [None] * REPLICAS
        self._bridge_is_up = False
        self._blocked: set[int] = set()
        self._passing: dict[tuple[What, int], int] = {}
        """At which step what goes on is over, by what it is and whom it befalls."""
        self._starts: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []
        self.count: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for wire, line in zip(self._wires, self.lines, strict=True):
            await self._stack.enter_async_context(wire)
            self._stack.push_async_callback(line.close)
        await self._start_bridge()
        await asyncio.gather(*(self._start_service(replica) for replica in range(REPLICAS)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._starts, return_exceptions=True)
        await self._stack.aclose()

    async def begin(self, step: Step) -> bool:
        """Whether it befell: what is so already is passed over."""
        place = (step.what, 0 if step.what in (What.KILL_BRIDGE, What.SLOW_EXCHANGE) else step.replica)
        if place in self._passing or (step.what is What.KILL_BRIDGE and not self._bridge_is_up):
            return False
        if step.what is What.KILL_SERVICE and self._services[step.replica] is None:
            return False
        self.count[step.what] += 1
        begin: dict[What, Callable[[int], Awaitable[None]]] = {
            What.KILL_BRIDGE: self._kill_bridge,
            What.KILL_SERVICE: self._kill_service,
            What.CUT: self._cut,
            What.BLOCK: self._block,
            What.HOLD: self._hold,
            What.MUTE: self._mute,
            What.SLOW_EXCHANGE: self._slow,
        }
        await begin[step.what](step.replica)
        if step.what not in (What.CUT, What.KILL_SERVICE):
            self._passing[place] = step.number + step.lasts
        return True

    async def pass_by(self, number: int | None = None) -> None:
        """End what is over by this step; all of it, where none is named, and wait until all processes are there.

        Fails where one of them could not be started.
        """
        for place, end in list(self._passing.items()):
            if number is None or end <= number:
                del self._passing[place]
                await self._end(*place)
        if number is None and self._starts:
            await asyncio.wait(self._starts)
        if self._failed:
            raise self._failed[0]

    async def _end(self, what: What, replica: int) -> None:
        wire = self._wires[replica]
        match what:
            case What.KILL_BRIDGE:
                self._in_background(self._start_bridge())
            case What.BLOCK:
                self._blocked.discard(replica)
                self._connect()
            case What.HOLD:
                wire.release()
            case What.MUTE:
                await wire.cut()  # what was lost does not come any more
                wire.release()
            case What.SLOW_EXCHANGE:
                for faults in self._simulator.faults.values():
                    faults.clear()

    async def _kill_bridge(self, _replica: int) -> None:
        self._bridge_is_up = False
        self._connect()
        await self._stage.kill_bridge()

    async def _kill_service(self, replica: int) -> None:
        service = self._services[replica]
        assert service is not None
        self._services[replica] = None
        self.lines[replica].cut()
        service.process.kill()
        await asyncio.to_thread(service.status)
        self._in_background(self._start_service(replica))

    async def _cut(self, replica: int) -> None:
        await self._wires[replica].cut()

    async def _block(self, replica: int) -> None:
        self._blocked.add(replica)
        self._connect()
        await self._wires[replica].cut()

    async def _hold(self, replica: int) -> None:
        self._wires[replica].hold_requests()

    async def _mute(self, replica: int) -> None:
        self._wires[replica].hold_answers()

    async def _slow(self, _replica: int) -> None:
        for faults in self._simulator.faults.values():
            faults.add(FaultKind.SLOW, seconds=_SLOW_SECONDS)

    async def _start_bridge(self) -> None:
        await self._stage.start_bridge(**self._bridge_settings)
        self._bridge_is_up = True
        self._connect()

    async def _start_service(self, replica: int) -> None:
        service = await self._stage.start_keyservice(self._wires[replica].address)
        self._services[replica] = service
        await self.lines[replica].connect(service.address)

    def _connect(self) -> None:
        """Where the wires lead, as things are."""
        port = int(self._stage.bridge_address.rpartition(":")[2]) if self._bridge_is_up else 0
        for replica, wire in enumerate(self._wires):
            wire.leads_to = 0 if replica in self._blocked else port

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._starts.add(task)
        task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)
