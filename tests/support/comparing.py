"""A trader's connector, compared with its exchange by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from bridgeservice.history_reading import HistoryReading
from bridgeservice.journal import Journal
from bridgeservice.reconciliation import Reconciliation
from bridgeservice.reconciliation_loop import ReconciliationLoop
from bridgeservice.store.reconciliations import Pace
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.order_pb2 import Order
from bridgeservice.v1.trade_pb2 import Trade
from servicekit.database.engine import Database
from servicekit.work import Work
from tests.support.trading import Trader, trading

ALWAYS = Pace(soon=timedelta(0), often=timedelta(0), seldom=timedelta(0), lease=timedelta(seconds=30))


@dataclass
class Comparing:
    """A trader, and the loop that compares his connector, turned by hand."""

    trader: Trader
    loop: ReconciliationLoop
    work: Work

    async def compare(self) -> int:
        """One turn, to its end."""
        begun = await self.loop.once()
        await self.work.end()
        return begun

    async def begin(self) -> None:
        """Use the connector, and compare it once."""
        await self.trader.place()
        self.loop.use(self.trader.account)
        assert await self.compare() == 1

    async def forget_the_pause(self) -> None:
        """As if the time after a failure had passed."""
        async with self.trader.database.autocommit() as connection:
            await connection.execute(
                text(
                    "UPDATE bridge.reconciliations SET claimed_until = NULL FROM bridge.accounts"
                    " WHERE accounts.id = account_id AND account_name = :account"
                ),
                {"account": self.trader.account},
            )

    async def trades(self) -> list[Trade]:
        request = pb.ListTradesRequest(account_name=self.trader.account, page_size=1000)
        return list((await self.trader.bridge.stub.ListTrades(request)).trades)

    async def external(self) -> list[Order]:
        return [each for each in await self.trader.listed(page_size=1000) if each.external]


def looped(trader: Trader, database: Database, pace: Pace = ALWAYS) -> tuple[ReconciliationLoop, Work]:
    bridge, work = trader.bridge, Work(timedelta(seconds=20))
    history = HistoryReading(database, bridge.calls, bridge.sessions, backfill=timedelta(days=30))
    reconciliation = Reconciliation(database, Journal(database), bridge.sessions, history)
    loop = ReconciliationLoop(database, bridge.accounts, reconciliation, work, pace)
    loop.hear(bridge.accounts.connector(trader.account, trader.connector))
    return loop, work


@asynccontextmanager
async def compared(database: Database) -> AsyncIterator[Comparing]:
    async with trading(database) as trader:
        yield Comparing(trader, *looped(trader, database))
