"""Looking for an order at its exchange: by an id where it can be asked so, else among what is open and was filled."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Final

from bridgeservice.amounts import EXACT, plain
from bridgeservice.enums import OrderState
from bridgeservice.exchanges.exchange import Session
from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Reference
from bridgeservice.journal import Journal
from bridgeservice.matching import Match, match, span
from bridgeservice.order_records import Order, Twin
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from servicekit.errors import FailedPrecondition

_MOST_TRADES: Final = 1000
_A_MOMENT: Final = timedelta(milliseconds=1)
NOT_SUPPORTED: Final = "NOT_SUPPORTED"


class Search:
    """Finds orders. ``longest_sending`` is how long after it was journalled one may have been sent at the latest."""

    def __init__(
        self,
        journal: Journal,
        sessions: Sessions,
        *,
        longest_sending: timedelta,
        settled_after: timedelta,
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._longest_sending = longest_sending
        self._settled_after = settled_after

    async def find(self, order: Order, connector: Connector) -> Match:
        """The order as it is now, or that there is none, as far as the exchange says so."""
        reference = order.reference
        if reference.id:
            answer = await asked(self._sessions, connector, reference)
            return Match(answer, certain=answer is not None)  # it was there once
        if reference.client_order_id:
            try:
                return Match(await self._sessions.ask(connector, lambda session: session.order(reference)))
            except FailedPrecondition as error:
                if error.reason != NOT_SUPPORTED:
                    raise
        twins, _ = await self._journal.rivals(order, (), self._settled_after)
        candidates = await self._candidates(order, twins, connector)
        twins, taken = await self._journal.rivals(order, candidates.keys(), self._settled_after)
        free = [each for each in candidates.values() if each.id not in taken]
        return match(order, twins, free, longest_sending=self._longest_sending)

    async def _candidates(
        self, order: Order, twins: Sequence[Twin], connector: Connector
    ) -> Mapping[str, ExchangeOrder]:
        """By id what waits on the order's market, and what was filled when it or one like it may have been sent.

        Asked in this order, so that what is filled in between is among the fills.
        """
        made = [order.created_at, *(twin.created_at for twin in twins)]
        spans = [span(each, self._longest_sending) for each in made]
        since, until = min(spans)[0], max(spans)[1]
        waiting = await self._sessions.ask(connector, lambda session: session.open_orders(order.symbol))
        found = {each.id: each for each in waiting}
        fills = await self._fills(order, connector, since, until)
        ids = {each.order_id for each in fills} - found.keys() - {""}
        if ids:
            _, taken = await self._journal.rivals(order, ids, self._settled_after)
            for order_id in sorted(ids - taken):
                of_it = [each for each in fills if each.order_id == order_id]
                found[order_id] = await self._filled(order, of_it, connector)
        return found

    async def _fills(
        self, order: Order, connector: Connector, since: datetime, until: datetime
    ) -> Sequence[ExchangeTrade]:
        """Those on the order's market and side within this time."""
        found: dict[str, ExchangeTrade] = {}
        while since <= until:

            async def ask(session: Session, start: datetime = since) -> list[ExchangeTrade]:
                return list(await session.trades(order.symbol, start, _MOST_TRADES))

            page = await self._sessions.ask(connector, ask)
            if not page:
                break
            known = len(found)
            found |= {each.id: each for each in page}
            # A page that is full may have been cut between two fills of the same moment.
            is_cut = len(page) == _MOST_TRADES and len(found) > known
            since = page[-1].time + (timedelta(0) if is_cut else _A_MOMENT)
        return [each for each in found.values() if each.side is order.side]

    async def _filled(self, order: Order, fills: list[ExchangeTrade], connector: Connector) -> ExchangeOrder:
        """The order of some fills; made of them where the exchange can't be asked for it."""
        order_id = fills[0].order_id
        reference = Reference(order.symbol, order_id, sent_at=order.created_at)
        answer = await asked(self._sessions, connector, reference)
        if answer is not None:
            return answer
        with localcontext(EXACT):
            filled = sum((Decimal(each.amount) for each in fills), Decimal(0))
        return ExchangeOrder(
            id=order_id,
            symbol=order.symbol,
            # Of one that is filled in part nobody says whether the rest is over.
            state=OrderState.FILLED if filled == order.amount else OrderState.UNKNOWN,
            side=order.side,
            filled=plain(filled),
            time=fills[0].time,
        )


async def asked(sessions: Sessions, connector: Connector, reference: Reference) -> ExchangeOrder | None:
    """One order as it is now; None where the exchange knows none, or can't be asked for one."""
    try:
        return await sessions.ask(connector, lambda session: session.order(reference))
    except FailedPrecondition as error:
        if error.reason != NOT_SUPPORTED:
            raise
        return None
