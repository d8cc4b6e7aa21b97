"""The sessions of connectors in use: made on first use, lent to calls, closed when idle or when retired."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import Owner, Session
from bridgeservice.records import Connector
from servicekit import logs
from servicekit.errors import KeybridgeError

T = TypeVar("T")

_log = logs.get(__name__)


@dataclass(slots=True, eq=False)
class _Lent:
    session: Session | None = None
    users: int = 0
    used_at: float = 0.0


class Sessions:
    """At most one session for each connector. A call that is under way always finishes on the one it has."""

    def __init__(self, calls: ExchangeCalls, *, idle: timedelta) -> None:
        self._calls = calls
        self._idle = idle.total_seconds()
        self._lent: dict[Connector, _Lent] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def open_count(self) -> int:
        """How many connectors are not at rest."""
        return len(self._lent)

    @asynccontextmanager
    async def of(self, connector: Connector) -> AsyncIterator[Session]:
        """The connector's session, for the one call that is made in the block."""
        lent = self._lent.setdefault(connector, _Lent())
        lent.users += 1
        try:
            async with self._calls.to(connector.exchange, connector.environment) as exchange:
                if lent.session is None:
                    owner = Owner(connector.account_name, connector.name)
                    lent.session = exchange.session(connector.credentials, owner)
                yield lent.session
        finally:
            lent.users -= 1
            lent.used_at = monotonic()
            if not lent.users and (connector.retired or lent.session is None):
                self._put_to_rest(connector)

    async def ask(self, connector: Connector, question: Callable[[Session], Awaitable[T]]) -> T:
        """The answer of the connector's session to one question."""
        async with self.of(connector) as session:
            return await question(session)

    def retire(self, connector: Connector) -> None:
        """Close its session, as soon as no call uses it any more."""
        connector.retired = True
        lent = self._lent.get(connector)
        if lent is None or not lent.users:
            self._put_to_rest(connector)

    def rest_idle(self) -> int:
        """Put those to rest that nobody has used for long; says how many."""
        until = monotonic() - self._idle
        idle = [each for each, lent in self._lent.items() if not lent.users and lent.used_at <= until]
        for connector in idle:
            self._put_to_rest(connector)
        return len(idle)

    async def close(self) -> None:
        """Close all of them, whoever uses them."""
        for connector in list(self._lent):
            self._put_to_rest(connector)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _put_to_rest(self, connector: Connector) -> None:
        connector.reading = None
        lent = self._lent.pop(connector, None)
        if lent is not None and lent.session is not None:
            # In a task, because whoever retires a connector does not wait for what its exchange still does.
            task = asyncio.create_task(_close(lent.session, connector))
            self._closing.add(task)
            task.add_done_callback(lambda closed: self._rested(closed, connector))

    def _rested(self, closed: asyncio.Task[None], connector: Connector) -> None:
        self._closing.discard(closed)
        if not closed.cancelled() and (error := closed.exception()) is not None:
            # Its name only: what a plug-in's session says while it forgets credentials may hold them.
            _log.error(
                "unforeseen error in closing a session",
                exchange=connector.exchange,
                error=type(error).__name__,
            )


async def _close(session: Session, connector: Connector) -> None:
    try:
        await session.close()
    except KeybridgeError as error:
        _log.warning("a session did not close well", exchange=connector.exchange, reason=error.reason)
