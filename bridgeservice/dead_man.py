"""The dead man's switch: exchanges that have one cancel a connector's orders when this bridge falls silent.

It is armed anew, long before it would go off, for each connector with open orders; and disarmed when none is left.
"""

import asyncio
from datetime import timedelta
from typing import Never

from bridgeservice.accounts import Accounts
from bridgeservice.exchanges.exchange import NOT_SUPPORTED
from bridgeservice.precedence import go_first
from bridgeservice.records import Connector, Place
from bridgeservice.sessions import Sessions
from bridgeservice.store import orders as store
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError, NotFound

_AT_ONCE = 16
_NEVER = timedelta(0)

_log = logs.get(__name__)


class DeadMan:
    """Arms what the exchange offers; an exchange that offers nothing is asked once."""

    def __init__(
        self, database: Database, accounts: Accounts, sessions: Sessions, *, after: timedelta
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._sessions = sessions
        self._after = after
        # Twice may fail before it goes off.
        self._pause = after / 3
        self._armed: set[Place] = set()
        self._without: set[str] = set()
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> Never:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except KeybridgeError as error:
                _log.warning("which connectors have open orders is not known now", reason=error.reason)
            await asyncio.sleep(self._pause.total_seconds())

    async def once(self) -> None:
        """Arm where something is open, and disarm where nothing is any more."""
        trading = set(await store.connectors_with_open_orders(self._database.reads))
        await asyncio.gather(
            *(self._set(place, self._after) for place in trading),
            *(self._set(place, _NEVER) for place in self._armed - trading),
        )

    async def _set(self, place: Place, after: timedelta) -> None:
        connector = self._held(*place)
        if connector is None or connector.exchange in self._without:
            self._armed.discard(place)
            return
        go_first()
        try:
            async with self._turn, self._sessions.of(connector) as session:
                await session.cancel_all_after(after)
        except KeybridgeError as error:
            self._failed(connector, error)
            return
        if after:
            self._armed.add(place)
        else:
            self._armed.discard(place)

    def _held(self, account_name: str, connector_name: str) -> Connector | None:
        try:
            return self._accounts.connector(account_name, connector_name)
        except NotFound:  # another bridge has it, or nobody
            return None

    def _failed(self, connector: Connector, error: KeybridgeError) -> None:
        if error.reason == NOT_SUPPORTED:
            self._without.add(connector.exchange)
            _log.warning("an exchange has no dead man's switch", exchange=connector.exchange)
        else:
            _log.warning(
                "a dead man's switch could not be set", exchange=connector.exchange, reason=error.reason
            )
