"""Both services as processes of their own on one database, and what the bridge holds against what it should hold."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import text

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.v1 import key_service_pb2 as pb
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from tests.support.probe import plain_channel
from tests.support.service_process import PATIENCE, ServiceProcess, StartService

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

INLINE_WAIT = 1.0
"""How many seconds KeyService waits for the bridge while its caller waits."""
BRIDGE_TIMEOUT = 3.0
"""How many it gives the bridge where nobody waits."""
LOOKS = 30.0
"""How many seconds KeyService has to look for the bridge and for what is due, and to take it there. It takes about one;
the rest is for a machine that is busy, where a push may come too late once and be made again."""
_LOOK = 0.05

Held = Mapping[tuple[str, str], int]
"""What a bridge holds: revisions, by account and connector."""


@dataclass
class Stage:
    """One bridge at a time, and any number of KeyServices."""

    start: StartService
    url: str
    database: Database
    bridge: ServiceProcess | None = None

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str, start: StartService) -> AsyncIterator[Self]:
        """An empty stage, which looks into the database until the end of the block."""
        database = Database(DatabaseOptions(url=parse_url(url), pool_size=2))
        try:
            yield cls(start, url, database)
        finally:
            await database.close()

    async def start_bridge(self, **settings: str) -> ServiceProcess:
        """On a port of its own, holding nothing; comes back once it serves."""
        bridge = self.start("bridgeservice", BRIDGESERVICE_LOG_LEVEL="warning", **settings)
        self.bridge = await asyncio.to_thread(bridge.wait_ready)
        return self.bridge

    async def kill_bridge(self) -> None:
        """As ``kill -9`` does."""
        assert self.bridge is not None
        self.bridge.process.kill()
        await asyncio.to_thread(self.bridge.status)

    @property
    def bridge_address(self) -> str:
        """Where the bridge is that was started last."""
        assert self.bridge is not None
        return self.bridge.address

    async def start_keyservice(self, bridge_address: str, **settings: str) -> ServiceProcess:
        """Comes back once it serves."""
        return await asyncio.to_thread(self.begin_keyservice(bridge_address, **settings).wait_ready)

    def begin_keyservice(self, bridge_address: str, **settings: str) -> ServiceProcess:
        return self.start(
            "keyservice",
            DATABASE_URL=self.url,
            KEYSERVICE_BRIDGE_TARGET=bridge_address,
            **{
                "KEYSERVICE_INLINE_BRIDGE_WAIT": f"{INLINE_WAIT:g}s",
                "KEYSERVICE_BRIDGE_TIMEOUT": f"{BRIDGE_TIMEOUT:g}s",
                "KEYSERVICE_LOG_LEVEL": "warning",
            }
            | settings,
        )

    async def sql(self, statement: str, **parameters: object) -> Sequence[Sequence[Any]]:
        async with self.database.autocommit() as connection:
            result = await connection.execute(text(statement), parameters)
            return result.all() if result.returns_rows else []

    async def held(self) -> Held:
        """What the bridge says, asked directly."""
        assert self.bridge is not None
        return await held_by(self.bridge)

    async def wanted(self) -> Held:
        """What the rows say that it should be: the live and enabled keys at their latest revisions."""
        rows = await self.sql(
            "SELECT 'client_' || client_id, connector_name, revision FROM exchange_api_keys"
            " WHERE NOT is_deleted AND NOT disabled"
        )
        return {(row[0], row[1]): row[2] for row in rows}

    async def until_matched(self, seconds: float) -> None:
        """Wait until the bridge holds exactly what it should and every row says so; at most so many seconds."""
        until = monotonic() + seconds
        while True:
            unmatched, held, wanted = await self.unmatched(), await self.held(), await self.wanted()
            if not unmatched and held == wanted:
                return
            assert monotonic() < until, (seconds, unmatched, _differences(held, wanted))
            await asyncio.sleep(_LOOK)

    async def unmatched(self) -> Sequence[Sequence[Any]]:
        """The rows that do not say that the bridge has acknowledged them."""
        return await self.sql(
            "SELECT connector_name, revision, bridge_state, bridge_reason FROM exchange_api_keys"
            " WHERE bridge_state <> CASE WHEN is_deleted OR disabled THEN 'removed' ELSE 'configured' END"
        )


async def held_by(bridge: ServiceProcess) -> Held:
    held: dict[tuple[str, str], int] = {}
    request = bridge_pb.ListAccountsRequest(page_size=1000)
    async with plain_channel(bridge.port) as channel:
        stub = TradingBridgeStub(channel)
        while True:
            page = await stub.ListAccounts(request, timeout=PATIENCE)
            for account in page.accounts:
                held |= {
                    (account.account_name, each.connector_name): each.revision for each in account.connectors
                }
            request.page_token = page.next_page_token
            if not request.page_token:
                return held


async def until_reachable(stub: "KeyServiceAsyncStub") -> None:
    """Wait until KeyService has noticed that the bridge is there."""
    async with asyncio.timeout(PATIENCE):
        while not (await stub.GetBridgeHealth(pb.GetBridgeHealthRequest())).reachable:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)


async def longest_pause(stage: Stage) -> float:
    """How many seconds may pass until the next attempt at the key that has had the most of them.

    One that still hears from the breaker what was the case before is none: the key is due again within a second, for
    which ``LOOKS`` has the time.
    """
    [[most]] = await stage.sql("SELECT max(attempt_count) FROM exchange_api_keys")
    return float(min(60, 2**most))


def _differences(held: Held, wanted: Held) -> Iterable[tuple[tuple[str, str], int | None, int | None]]:
    return [
        (place, held.get(place), wanted.get(place))
        for place in sorted(held.keys() | wanted.keys())
        if held.get(place) != wanted.get(place)
    ]
