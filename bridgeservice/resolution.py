"""What became of orders: an exchange is asked until it is certain, and nothing is ever sent again.

That an exchange does not know an order is not certain at once: a request can be on its way long after whoever sent it
gave up. It is asked several times over a settling time before it is believed.
"""

import random
from datetime import timedelta
from typing import Final

from bridgeservice.enums import OrderState
from bridgeservice.exchanges.exchange import NOT_SUPPORTED
from bridgeservice.journal import Journal
from bridgeservice.order_metrics import OrderMetrics
from bridgeservice.order_records import (
    AMBIGUOUS,
    CANCEL_ACKNOWLEDGED,
    NEVER_SEEN,
    NOT_PLACED,
    Claimed,
    Order,
    Outcome,
    told,
)
from bridgeservice.precedence import go_first
from bridgeservice.records import Connector
from bridgeservice.search import Search, asked
from bridgeservice.sessions import Sessions
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    KeybridgeError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

ORDER_NOT_OPEN: Final = "ORDER_NOT_OPEN"

_LEAST_ASKS: Final = 3
_FIRST_PAUSE: Final = timedelta(milliseconds=500)
_LONGEST_PAUSE: Final = timedelta(seconds=60)
# Errors that say nothing of an order: the exchange is asked again.
_PASSING: Final = (DeadlineExceeded, ResourceExhausted, Unavailable)


class Resolution:
    """Asks about orders that are claimed, and writes what it learns.

    ``lease`` is for how long whoever sends an order or asks about it has it.
    """

    def __init__(
        self,
        journal: Journal,
        sessions: Sessions,
        metrics: OrderMetrics,
        *,
        lease: timedelta,
        settling_time: timedelta,
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._metrics = metrics
        self.lease = lease
        self._settled_after = lease + settling_time
        self._search = Search(journal, sessions, longest_sending=lease, settled_after=self._settled_after)

    async def settle(self, claimed: Claimed, connector: Connector) -> Order:
        """Find out what became of the order, and end it if somebody wants that."""
        order = claimed.order
        if order.cancel_requested_at is not None:
            go_first()
        try:
            if not order.settled:
                order = await self._find_out(claimed, connector)
            if order.state is OrderState.OPEN and order.cancel_requested_at is not None:
                order = await self._end(order, claimed, connector)
            elif order is claimed.order:  # it is open, and may not be for long
                order = await self._look_again(claimed, connector)
        except KeybridgeError as error:
            is_wanted_gone = order.cancel_requested_at is not None
            if order.state is OrderState.OPEN and not is_wanted_gone and not isinstance(error, _PASSING):
                await self._journal.leave_open(order)
            else:
                await self._journal.postpone(order, _pause(claimed))
            raise
        return order

    async def _find_out(self, claimed: Claimed, connector: Connector) -> Order:
        before = claimed.order
        match = await self._search.find(before, connector)
        if match.found is not None:
            outcome = told(match.found, _pause(claimed))
        elif match.certain:
            outcome = self._missed(claimed, never=match.never)
        else:
            reason = AMBIGUOUS if before.exchange_order_id is None else before.reason
            outcome = Outcome(OrderState.UNKNOWN, reason, _pause(claimed))
        now = await self._journal.write(before, outcome)
        if now.settled:
            self._metrics.resolved(now)
        return now

    def _missed(self, claimed: Claimed, *, never: bool) -> Outcome:
        """The exchange does not know the order: believe it, or ask again later. One that it ``never`` had is surely not
        placed; elsewhere an order that ended unfilled before anybody looked leaves no trace either.
        """
        order = claimed.order
        left = self._settled_after - (claimed.at - order.created_at)
        if left <= timedelta(0) and order.check_count + 1 >= _LEAST_ASKS:
            if never:
                return Outcome(OrderState.REJECTED, NOT_PLACED, missed=True)
            return Outcome(OrderState.CANCELED, NEVER_SEEN, missed=True)
        soon = left if left > timedelta(0) else _FIRST_PAUSE
        return Outcome(OrderState.UNKNOWN, order.reason, min(_pause(claimed), soon), missed=True)

    async def _look_again(self, claimed: Claimed, connector: Connector) -> Order:
        reference = claimed.order.reference
        answer = await self._sessions.ask(connector, lambda session: session.order(reference))
        if answer is None:
            raise NotFound(f"{connector.exchange} has no such order.", reason="ORDER_NOT_FOUND")
        return await self._journal.write(claimed.order, told(answer, _pause(claimed)))

    async def _end(self, order: Order, claimed: Claimed, connector: Connector) -> Order:
        """Ask for the end of an order, and then what it came to: only that is believed."""
        reference = order.reference
        refused: KeybridgeError | None = None
        now = order
        try:
            await self._sessions.ask(connector, lambda session: session.cancel(reference))
        except KeybridgeError as error:
            refused = error
        else:
            # Where questions are dear the answer may be long in coming, and nobody should take it for open till then.
            now = await self._journal.write(order, Outcome(order.state, CANCEL_ACKNOWLEDGED, self.lease))
        answer = await asked(self._sessions, connector, reference)
        if answer is not None:
            now = await self._journal.write(order, told(answer, _pause(claimed)))
        elif refused is None:
            now = await self._journal.write(order, Outcome(OrderState.CANCELED))
        if (
            refused is not None
            and now.state is OrderState.OPEN
            and (answer is None or not _says_over(refused))
        ):
            if refused.reason == NOT_SUPPORTED:  # at any time and by whatever credentials
                await self._journal.leave_open(order)
            raise refused
        return now


def _says_over(error: KeybridgeError) -> bool:
    """Whether there was nothing to cancel; that the order is open all the same is a matter of a moment."""
    return isinstance(error, NotFound) or (
        isinstance(error, FailedPrecondition) and error.reason == ORDER_NOT_OPEN
    )


def _pause(claimed: Claimed) -> timedelta:
    """How long to wait before the exchange is asked again: the longer, the longer that has been going on, and not for
    all at the same moment.
    """
    order = claimed.order
    waited = claimed.at - (order.cancel_requested_at or order.created_at)
    pause = min(max(waited / 8, _FIRST_PAUSE), _LONGEST_PAUSE)
    return pause * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
