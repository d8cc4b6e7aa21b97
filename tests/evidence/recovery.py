"""Many keys, a bridge that is killed and comes back with nothing, and users who go on calling meanwhile."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.v1 import key_service_pb2 as pb
from tests.evidence.crash_clients import Line
from tests.evidence.interactive import Answered, Interactive, addition
from tests.services.convergence.stage import Stage
from tests.support.probe import plain_channel
from tests.support.service_process import PATIENCE, ServiceProcess, StartService, free_port

EXCHANGES = ("kraken", "binance", "okx", "paper")
"""Of each a key for every client."""

_AT_ONCE = 32
_LOOK = 0.05


@dataclass(frozen=True, slots=True)
class Recovered:
    """How one recovery went: moments on the monotonic clock, and the calls of its time."""

    killed: float
    serving: float
    """When the new run of the bridge served."""
    first: float
    """When a row said that this run holds its key."""
    done: float
    """When all said so."""
    service_away: tuple[float, float] | None
    """From when to when there was no KeyService, where it was killed too."""
    calls: Sequence[Answered]

    @property
    def seconds(self) -> float:
        """How long it took from when the bridge served."""
        return self.done - self.serving

    @property
    def undisturbed(self) -> list[Answered]:
        """The calls from the kill to the last key, but for those that met a KeyService which was not there."""
        calls = [each for each in self.calls if self.killed <= each.due <= self.done]
        if self.service_away is None:
            return calls
        gone, back = self.service_away
        return [each for each in calls if each.over < gone or each.due > back]


class Recovery:
    """A house full of keys, and what is done to it."""

    def __init__(
        self, stage: Stage, line: Line, settings: Mapping[str, str], *, rate: float, patience: float
    ) -> None:
        """``rate`` is that of the interactive calls, ``settings`` are KeyService's."""
        self.stage = stage
        self.line = line
        self._settings = settings
        self._patience = patience
        # It keeps its address, as where a supervisor restarts it.
        self._bridge_address = f"127.0.0.1:{free_port()}"
        self._service: ServiceProcess | None = None
        self.interactive = Interactive(line, [], [], rate)

    @classmethod
    @asynccontextmanager
    async def prepared(
        cls, url: str, start: StartService, keys: int, *, rate: float, patience: float, **settings: str
    ) -> AsyncIterator["Recovery"]:
        """Both services on a database at head, and in them clients with a key of each exchange, so many in all."""
        line = Line()
        async with Stage.on(url, start) as stage:
            recovery = cls(stage, line, settings, rate=rate, patience=patience)
            try:
                await recovery.start_bridge()
                await recovery.start_service()
                await recovery.fill(keys)
                yield recovery
            finally:
                await line.close()

    async def start_bridge(self) -> None:
        await self.stage.start_bridge(DATABASE_URL=self.stage.url, BRIDGESERVICE_LISTEN=self._bridge_address)

    async def start_service(self) -> None:
        """Calls that wait on the line go on then."""
        self._service = await self.stage.start_keyservice(self._bridge_address, **self._settings)
        await self.line.connect(self._service.address)

    async def fill(self, keys: int) -> None:
        stub = await self.line.stub()
        made = itertools.count()

        async def add() -> None:
            while next(made) * len(EXCHANGES) < keys:
                client = (await stub.CreateClient(pb.CreateClientRequest(name="a client"))).client
                added = [await stub.AddApiKey(addition(client.id, exchange)) for exchange in EXCHANGES]
                self.interactive.client_ids.append(client.id)
                self.interactive.key_ids.extend(each.api_key.id for each in added)

        await asyncio.gather(*(add() for _ in range(_AT_ONCE)))
        await self.stage.until_matched(self._patience)

    async def once(self, *, kill_service: bool, before: float = 0) -> Recovered:
        """Kill the bridge under load that goes on since ``before`` seconds, and start it at once.

        With ``kill_service`` KeyService is killed as well, when half of the keys are back.
        """
        stopping = asyncio.Event()
        self.interactive.answered = []
        async with asyncio.TaskGroup() as group:
            group.create_task(self.interactive.work(stopping))
            await asyncio.sleep(before)
            killed = monotonic()
            await self.stage.kill_bridge()
            await self.start_bridge()
            serving = monotonic()
            first = await self._until_back(lambda _: 1)
            away = None
            if kill_service:
                await self._until_back(lambda wanted: wanted // 2)
                away = await self._replace_service()
            done = await self._until_back(lambda wanted: wanted)
            stopping.set()
        await self.stage.until_matched(self._patience)
        return Recovered(killed, serving, first, done, away, self.interactive.answered)

    async def _replace_service(self) -> tuple[float, float]:
        assert self._service is not None
        begun = monotonic()
        self.line.cut()
        self._service.process.kill()
        await asyncio.to_thread(self._service.status)
        await self.start_service()
        return begun, monotonic()

    async def _until_back(self, enough: Callable[[int], int]) -> float:
        """Wait until, of all that should, enough rows say that this run of the bridge holds their key."""
        assert self.stage.bridge is not None
        async with plain_channel(self.stage.bridge.port) as channel:
            info = await TradingBridgeStub(channel).GetBridgeInfo(
                bridge_pb.GetBridgeInfoRequest(), timeout=PATIENCE
            )
        until = monotonic() + self._patience
        while True:
            [[wanted, back]] = await self.stage.sql(
                "SELECT count(*), count(*) FILTER (WHERE bridge_state = 'configured' AND configured_instance = :run)"
                " FROM exchange_api_keys WHERE NOT is_deleted AND NOT disabled",
                run=info.instance_id,
            )
            if back >= enough(wanted):
                return monotonic()
            assert monotonic() < until, f"{back} of {wanted} keys are back after {self._patience:g} s"
            await asyncio.sleep(_LOOK)
