"""What an account was worth over time, from the snapshots that were kept."""

from collections.abc import Sequence

from bridgeservice.accounts import Accounts
from bridgeservice.needs import required
from bridgeservice.store import snapshots as store
from bridgeservice.store.snapshots import Point, Range
from servicekit.database.engine import Database


class History:
    """Reads the snapshots of an account, whichever bridge took them."""

    def __init__(self, database: Database | None, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

    async def of(self, account_name: str, wanted: Range) -> Sequence[Point]:
        database = required(self._database, "The history of an account is kept")
        return await store.points(
            database.reads, account_name, wanted, self._accounts.names_of_connectors(account_name)
        )
