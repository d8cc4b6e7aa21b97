"""The dead man's switch: exchanges that have one cancel a connector's orders when this bridge falls silent.

It is armed anew, long before it would go off, for each connector with open orders; and disarmed when none is left.
That takes turns of orders: only two wait at an exchange at once, so that nobody's order waits for long. No exchange
waits for another one: each has a round of its own, however slow the others' are.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Final, Never, TypeAlias

from bridgeservice.accounts import Accounts
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Environment
from bridgeservice.precedence import go_first
from bridgeservice.records import Connector, Place
from bridgeservice.sessions import Sessions
from bridgeservice.store import orders as store
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import KeybridgeError, NotFound

_Line: TypeAlias = tuple[str, Environment]
_Setting: TypeAlias = tuple[Connector, timedelta]

_AT_ONCE: Final = 2
"""Of one exchange's connectors."""
_NEVER: Final = timedelta(0)

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
        # Once may fail, and the next time be late, before it goes off.
        self._pause = after / 3
        self._armed: dict[Place, float] = {}
        """When they last were, on the monotonic clock."""
        self._without: set[str] = set()
        self._due: dict[_Line, list[_Setting]] = {}
        """What the next round of each exchange is to set."""
        self._under_way: set[_Line] = set()

    async def run(self) -> Never:
        """Until cancelled, and with it the rounds that are under way."""
        async with asyncio.TaskGroup() as rounds:
            while True:
                began = monotonic()
                try:
                    await self.once(rounds)
                except KeybridgeError as error:
                    _log.warning("which connectors have open orders is not known now", reason=error.reason)
                await asyncio.sleep(began + self._pause.total_seconds() - monotonic())

    async def once(self, rounds: asyncio.TaskGroup) -> None:
        """Begin to arm where something is open, and to disarm where nothing is any more; at an exchange that is not
        done with its last round, right after it.
        """
        trading = set(await store.connectors_with_open_orders(self._database.reads))
        due: defaultdict[_Line, list[_Setting]] = defaultdict(list)
        for place in trading | self._armed.keys():
            connector = self._held(*place)
            if connector is None or connector.exchange in self._without:
                self._armed.pop(place, None)
            else:
                after = self._after if place in trading else _NEVER
                due[connector.exchange, connector.environment].append((connector, after))
        self._due = due
        for line in due.keys() - self._under_way:
            self._under_way.add(line)
            rounds.create_task(self._go_round(line))

    async def _go_round(self, line: _Line) -> None:
        """At one exchange, until nothing has come due meanwhile."""
        try:
            while settings := self._due.pop(line, None):
                await self._set_all(line[0], settings)
        finally:
            self._under_way.discard(line)

    async def _set_all(self, exchange: str, settings: Sequence[_Setting]) -> None:
        """Of one exchange; says so if there is not the time for so many."""
        began = monotonic()
        places = asyncio.Semaphore(_AT_ONCE)

        async def set_one(connector: Connector, after: timedelta) -> None:
            async with places:
                await self._set(connector, after)

        # The one that was armed longest ago comes first: where there are too many, each misses as seldom as the others.
        oldest_first = sorted(settings, key=lambda setting: self._armed.get(setting[0].place, 0))
        # Returned and not raised: an exchange of somebody else's may raise anything, and the others go on.
        answers = await asyncio.gather(*(set_one(*each) for each in oldest_first), return_exceptions=True)
        for unforeseen in filter(None, answers):
            _log.error(
                "unforeseen error in setting a dead man's switch", exchange=exchange, exc_info=unforeseen
            )
        if monotonic() - began > self._pause.total_seconds():
            _log.warning(
                "dead man's switches can't be armed in time for so many connectors",
                exchange=exchange,
                connectors=len(settings),
            )

    async def _set(self, connector: Connector, after: timedelta) -> None:
        if connector.exchange in self._without:  # as another one of this round was told
            return
        go_first()
        try:
            async with self._sessions.of(connector) as session:
                await session.cancel_all_after(after)
        except KeybridgeError as error:
            self._failed(connector, error)
            return
        if after:
            self._armed[connector.place] = monotonic()
        else:
            self._armed.pop(connector.place, None)

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
