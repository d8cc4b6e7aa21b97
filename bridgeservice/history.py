"""What is remembered of an account: its trades, and what it was worth over time."""

from collections.abc import Sequence

from bridgeservice.accounts import Accounts
from bridgeservice.needs import required
from bridgeservice.reconciliation_loop import Uses
from bridgeservice.records import Trade, TradeFilter
from bridgeservice.store import snapshots, trades
from bridgeservice.store.snapshots import Point, Range
from servicekit.database.engine import Database
from servicekit.paging import Page, Position


class History:
    """Reads what was kept of an account, whichever bridge kept it."""

    def __init__(self, database: Database | None, accounts: Accounts, uses: Uses) -> None:
        self._database = database
        self._accounts = accounts
        self._uses = uses

    async def trades(
        self, account_name: str, wanted: TradeFilter, *, after: Position | None, size: int
    ) -> Page[Trade]:
        """The newest first."""
        reads = required(self._database, "Trades are kept").reads
        self._uses(account_name)
        return await trades.page(reads, account_name, wanted, after=after, size=size)

    async def points(self, account_name: str, wanted: Range) -> Sequence[Point]:
        database = required(self._database, "The history of an account is kept")
        return await snapshots.points(
            database.reads, account_name, wanted, self._accounts.names_of_connectors(account_name)
        )
