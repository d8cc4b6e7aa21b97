"""What time does to the bridge: idle sessions are closed, and connectors that nobody confirms are forgotten."""

import asyncio
from datetime import timedelta
from typing import Never

from bridgeservice.accounts import Accounts
from bridgeservice.prices import Prices
from bridgeservice.sessions import Sessions
from servicekit import logs

_LONGEST_PAUSE = timedelta(minutes=1)

_log = logs.get(__name__)


class Housekeeping:
    """A loop that looks often enough for the shorter of the two spans."""

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        prices: Prices,
        *,
        connector_ttl: timedelta,
        session_idle: timedelta,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._prices = prices
        self._connector_ttl = connector_ttl
        self._session_idle = session_idle
        self._pause = min(_LONGEST_PAUSE, connector_ttl / 4, session_idle / 4)

    async def run(self) -> Never:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._pause.total_seconds())
            self.once()

    def once(self) -> None:
        """Forget and close what is due."""
        if forgotten := self._accounts.forget_unconfirmed(self._connector_ttl):
            _log.info("forgot connectors that nobody has confirmed", connectors=forgotten)
        if rested := self._sessions.rest_idle():
            _log.debug("closed idle sessions", sessions=rested)
        self._prices.forget(self._session_idle.total_seconds())
