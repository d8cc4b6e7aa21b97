"""Sending an order to its exchange, once, and writing into the journal what came of that."""

import asyncio
from datetime import timedelta
from time import monotonic
from typing import Final

from bridgeservice.enums import OrderState
from bridgeservice.exchanges.orders import Refusal, Ticket
from bridgeservice.journal import Journal
from bridgeservice.order_metrics import OrderMetrics
from bridgeservice.order_records import Order, Outcome, told
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from servicekit import logs
from servicekit.errors import Aborted, KeybridgeError
from servicekit.work import Work

SLACK: Final = timedelta(seconds=5)
"""How long after its time is up a sender may take to say what came of it."""

_log = logs.get(__name__)


class Sending:
    """Takes orders that are journalled to their exchanges. What was begun goes on when its caller goes away."""

    def __init__(
        self, journal: Journal, sessions: Sessions, metrics: OrderMetrics, work: Work, *, timeout: timedelta
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._metrics = metrics
        self._work = work
        self.lease = timeout + SLACK
        """How long an order is its sender's: nobody else asks about it before that."""
        self._latest = SLACK.total_seconds()

    async def send(
        self, order: Order, connector: Connector, ticket: Ticket, *, drafted_at: float, within: float | None
    ) -> Order:
        """The order with what came of it, or PENDING if that has not come ``within`` so many seconds."""
        task = self._work.start(self._send(order, connector, ticket, drafted_at))
        done, _ = await asyncio.wait({task}, timeout=within)
        return task.result() if done else order

    async def _send(self, order: Order, connector: Connector, ticket: Ticket, drafted_at: float) -> Order:
        # Returned and not raised: whatever an exchange of somebody else's comes up with, the order may be placed.
        [answer] = await asyncio.gather(self._placed(connector, ticket, drafted_at), return_exceptions=True)
        outcome = answer if isinstance(answer, Outcome) else _unknown(order, answer)
        try:
            now = await self._journal.write(order, outcome)
        except KeybridgeError as error:
            _log.warning("what came of an order was not written", order_id=str(order.id), reason=error.reason)
            return order
        self._metrics.placed(now)
        return now

    async def _placed(self, connector: Connector, ticket: Ticket, drafted_at: float) -> Outcome:
        begun = False
        try:
            async with self._sessions.of(connector) as session:
                if monotonic() - drafted_at > self._latest:
                    # This process stood still. Somebody may have asked for the order and not found it.
                    raise Aborted("The order was not sent in time, and will not be.", reason="NOT_SENT")
                begun = True
                answer = await session.place(ticket)
        except KeybridgeError as error:
            if begun:
                raise
            return Outcome(OrderState.REJECTED, error.reason)
        if isinstance(answer, Refusal):
            return Outcome(OrderState.REJECTED, answer.error.reason)
        return told(answer)


def _unknown(order: Order, answer: BaseException) -> Outcome:
    if isinstance(answer, asyncio.CancelledError):
        raise answer
    if isinstance(answer, KeybridgeError):
        return Outcome(OrderState.UNKNOWN, answer.reason)
    _log.error("unforeseen error in placing an order", order_id=str(order.id), exc_info=answer)
    return Outcome(OrderState.UNKNOWN, "INTERNAL")
