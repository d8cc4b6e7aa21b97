"""Looking for an order at its exchange: by an id where it can be asked so, else among what is open and was filled."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Final

from bridgeservice.amounts import EXACT, plain
from bridgeservice.enums import OrderState
from bridgeservice.exchanges.exchange import Session
from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Reference
from bridgeservice.journal import Journal
from bridgeservice.matching import CLOCKS_DIFFER, Match, match
from bridgeservice.order_records import Order
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from servicekit.errors import FailedPrecondition

_MOST_TRADES: Final = 1000
_A_MOMENT: Final = timedelta(milliseconds=1)
_NOT_SUPPORTED: Final = "NOT_SUPPORTED"


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
        if reference.id or reference.client_order_id:
            try:
                return Match(await self._sessions.ask(connector, lambda session: session.order(reference)))
            except FailedPrecondition as error:
                if error.reason != _NOT_SUPPORTED:
                    raise
        candidates = await self._candidates(order, connector)
        twins, taken = await self._journal.rivals(order, candidates.keys(), self._settled_after)
        free = [each for each in candidates.values() if each.id not in taken]
        return match(order, twins, free, longest_sending=self._longest_sending)

    async def _candidates(self, order: Order, connector: Connector) -> Mapping[str, ExchangeOrder]:
        """By id what waits on the order's market, and what was filled since it may have been sent.

        Asked in this order, so that what is filled in between is among the fills.
        """
        waiting = await self._sessions.ask(connector, lambda session: session.open_orders(order.symbol))
        found = {each.id: each for each in waiting}
        fills = [each for each in await self._fills(order, connector) if each.side is order.side]
        ids = {each.order_id for each in fills} - found.keys() - {""}
        if ids:
            _, taken = await self._journal.rivals(order, ids, self._settled_after)
            for order_id in sorted(ids - taken):
                of_it = [each for each in fills if each.order_id == order_id]
                found[order_id] = await self._filled(order, of_it, connector)
        return found

    async def _fills(self, order: Order, connector: Connector) -> Collection[ExchangeTrade]:
        """Those on the order's market within the time in which it may have been sent."""
        since = order.created_at - CLOCKS_DIFFER
        until = order.created_at + self._longest_sending + CLOCKS_DIFFER
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
        return found.values()

    async def _filled(self, order: Order, fills: list[ExchangeTrade], connector: Connector) -> ExchangeOrder:
        """The order of some fills; made of them where the exchange can't be asked for it."""
        order_id = fills[0].order_id
        reference = Reference(order.symbol, order_id, sent_at=order.created_at)
        try:
            answer = await self._sessions.ask(connector, lambda session: session.order(reference))
        except FailedPrecondition as error:
            if error.reason != _NOT_SUPPORTED:
                raise
            answer = None
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
