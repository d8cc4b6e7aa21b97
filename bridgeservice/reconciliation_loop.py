"""The loop that compares connectors with their exchanges: when they come to be held, and again and again.

Only connectors that somebody trades with: from the first order on, or the first look at orders or trades.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Never, TypeAlias

from bridgeservice.accounts import Accounts
from bridgeservice.reconciliation import Reconciliation
from bridgeservice.records import Connector, Place
from bridgeservice.store import accounts
from bridgeservice.store import reconciliations as store
from bridgeservice.store.reconciliations import Due, Pace
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import Internal, KeybridgeError, NotFound
from servicekit.turns import take_turns
from servicekit.work import Work

_AT_ONCE: Final = 8
_PAUSE: Final = timedelta(seconds=1)
# As for orders that are asked about; and here a turn looks for all that the bridge holds.
_GATHER: Final = timedelta(seconds=0.25)
# After a failure, which may be the credentials' and stay.
_LATER: Final = timedelta(minutes=1)

_log = logs.get(__name__)


Uses: TypeAlias = Callable[[str], None]
"""Hears that somebody trades with an account, or wants to see what was traded."""


def nobody_compares(account_name: str) -> None:
    """On a bridge that remembers nothing."""
    del account_name


class ReconciliationLoop:
    """Claims what is due among the connectors that this bridge holds, and has it compared."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        reconciliation: Reconciliation,
        work: Work,
        pace: Pace,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._reconciliation = reconciliation
        self._work = work
        self._pace = pace
        self._held: set[Place] = set()
        self._used: set[Place] = set()
        self._fresh: set[Place] = set()
        self._begun: set[Place] = set()
        self._running = 0
        self._wake = asyncio.Event()

    def hear(self, connector: Connector) -> None:
        """The bridge holds this connector from now on."""
        self._held.add(connector.place)
        self._fresh.add(connector.place)
        self._wake.set()

    def use(self, account_name: str) -> None:
        """Somebody trades with this account, or wants to see what was traded."""
        for name in self._accounts.names_of_connectors(account_name):
            if (account_name, name) not in self._begun:
                self._used.add((account_name, name))
                self._wake.set()

    async def run(self) -> Never:
        """Until cancelled. A database that is away is tried again at the next turn."""

        def failed(error: KeybridgeError) -> None:
            _log.warning("what is due can't be compared with exchanges, and is later", reason=error.reason)

        await take_turns(self.once, wake=self._wake, pause=_PAUSE, failed=failed, gather=_GATHER)

    async def once(self) -> int:
        """Begin with what is due and has room; says how many connectors that were."""
        used, fresh, room = set(self._used), set(self._fresh), _AT_ONCE - self._running
        if not room:
            return 0
        async with self._database.autocommit() as connection:
            if used:
                await accounts.ensure_all(connection, sorted({account_name for account_name, _ in used}))
                await store.begin(connection, used)
                self._begun |= used
                self._used -= used
            if fresh:
                await store.hurry(connection, fresh)
                self._fresh -= fresh
            claimed = await store.claim(connection, self._held, self._pace, room) if self._held else []
        for due in claimed:
            self._running += 1
            self._work.start(self._compare(due))
        return len(claimed)

    async def _compare(self, due: Due) -> None:
        try:
            try:
                connector = self._accounts.connector(*due.place)
            except NotFound:
                self._held.discard(due.place)
                return
            found = await self._reconciliation.compare(due, connector)
            await self._release(due, done=found.whole)
            if found.new_trades:
                _log.info("stored trades", exchange=connector.exchange, trades=found.new_trades)
        except KeybridgeError as error:
            level = _log.error if isinstance(error, Internal) else _log.warning
            level("a connector could not be compared with its exchange", reason=error.reason)
            await self._release(due, done=False, again_in=_LATER)
        finally:
            self._running -= 1

    async def _release(self, due: Due, *, done: bool, again_in: timedelta = timedelta(0)) -> None:
        try:
            async with self._database.autocommit() as connection:
                await store.release(connection, due, done=done, again_in=again_in)
        except KeybridgeError as error:
            # Its claim expires, and then it is due again.
            _log.warning("a connector was not given back", reason=error.reason)
