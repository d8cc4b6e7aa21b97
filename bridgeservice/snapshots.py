"""The loop that remembers what every connector held: once for each span of time, whichever replica comes first.

A connector that could not be read has no snapshot, and is read again at the next look within the span.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Never, Protocol
from uuid import UUID

from bridgeservice.accounts import Accounts
from bridgeservice.portfolio import Wish
from bridgeservice.prices import decimal
from bridgeservice.records import Account, Holding, Place, Portfolio, Reading
from bridgeservice.store import accounts as account_store
from bridgeservice.store import snapshots as store
from bridgeservice.store.snapshots import Snapshot
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError, NotFound

_PAGE = 200
# Callers come first: an exchange's rate limit is theirs too.
_AT_ONCE = 4
_PATIENCE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=1)
# Old enough to be shared by accounts that are read one after the other, and too young to matter.
_AGE_OF_PRICES = timedelta(seconds=30)

_log = logs.get(__name__)


class Reads(Protocol):
    """Whoever reads what an account holds."""

    async def get(self, wish: Wish) -> Portfolio: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How often snapshots are taken, and what they are valued in."""

    interval: timedelta
    quote_asset: str


class Snapshots:
    """Takes what is missing of the present span, page by page of the accounts that this bridge holds."""

    def __init__(self, database: Database, accounts: Accounts, portfolios: Reads, terms: Terms) -> None:
        self._database = database
        self._accounts = accounts
        self._portfolios = portfolios
        self._terms = terms
        self._pause = min(_LONGEST_PAUSE, terms.interval / 4)
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next look."""
        while True:
            try:
                await self.once(datetime.now(UTC))
            except KeybridgeError as error:
                _log.warning("snapshots could not be kept, and are taken later", reason=error.reason)
            await asyncio.sleep(self._pause.total_seconds())

    async def once(self, now: datetime) -> int:
        """Take what is missing of the span in which ``now`` lies; says how many snapshots that were."""
        bucket = store.span(now, self._terms.interval)
        there = await store.taken(self._database.reads, bucket)
        kept, after = 0, None
        while True:
            page = self._accounts.page(after, _PAGE)
            kept += await self._take(bucket, page.rows, there)
            if (after := page.next) is None:
                return kept

    async def _take(self, bucket: datetime, accounts: Sequence[Account], there: set[Place]) -> int:
        missing = {
            account.name: names
            for account in accounts
            if (names := [each for each in account.connectors if (account.name, each) not in there])
        }
        answers = await asyncio.gather(*(self._read(name, missing[name]) for name in missing))
        held = {name: found for name, found in zip(missing, answers, strict=True) if found}
        if not held:
            return 0
        async with self._database.transaction() as connection:
            ids = await account_store.ensure_all(connection, list(held))
            taken = [
                _snapshot(ids[name], each, reading) for name, read in held.items() for each, reading in read
            ]
            await store.save(connection, bucket, self._terms.quote_asset, taken)
        return len(taken)

    async def _read(
        self, account_name: str, connector_names: Sequence[str]
    ) -> Sequence[tuple[Holding, Reading]]:
        """What could be read of these connectors of one account."""
        wish = Wish(
            account_name,
            connector_names,
            quote_asset=self._terms.quote_asset,
            max_age=_AGE_OF_PRICES.total_seconds(),
            within=_PATIENCE.total_seconds(),
        )
        async with self._turn:
            try:
                portfolio = await self._portfolios.get(wish)
            except NotFound:  # the account was deleted meanwhile
                return ()
            except KeybridgeError as error:
                _log.warning("an account could not be read for its snapshots", reason=error.reason)
                return ()
        return [(each, each.reading) for each in portfolio.holdings if each.reading is not None]


def _snapshot(account_id: UUID, holding: Holding, reading: Reading) -> Snapshot:
    balances = reading.balances
    worth = [number for text in holding.values.values() if (number := decimal(text)) is not None]
    unpriced = [each for each in balances if each.asset not in holding.values]
    return Snapshot(
        account_id,
        holding.connector_name,
        reading.asked_at,
        balances,
        holding.values,
        # An account that holds nothing is worth nothing; one whose assets have no price is worth nobody knows what.
        value=sum(worth, Decimal(0)) if worth or not balances else None,
        complete=not unpriced,
    )
