"""Looking for an order at its exchange: by an id where it can be asked so, else among what is open and was filled."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Final

from bridgeservice import symbols
from bridgeservice.amounts import EXACT, plain
from bridgeservice.enums import OrderSide, OrderState
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Session
from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Reference
from bridgeservice.journal import Journal
from bridgeservice.matching import FromFills, Match, match, span
from bridgeservice.order_records import Order, Twin
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from servicekit.errors import FailedPrecondition, InvalidArgument

MOST_TRADES: Final = 1000
MOST_PAGES: Final = 20
_A_MOMENT: Final = timedelta(milliseconds=1)


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
                answer = await self._sessions.ask(connector, lambda session: session.order(reference))
            except FailedPrecondition as error:
                if error.reason != NOT_SUPPORTED:
                    raise
            else:
                return Match(answer, never=answer is None)
        twins, _ = await self._journal.rivals(order, (), self._settled_after)
        candidates, are_all = await self._candidates(order, twins, connector)
        ids = {each.id for each in candidates}
        twins, taken = await self._journal.rivals(order, ids, self._settled_after)
        free = [each for each in candidates if each.id not in taken]
        found = match(order, twins, free, longest_sending=self._longest_sending)
        return found if are_all or found.found is not None else Match(certain=False)

    async def _candidates(
        self, order: Order, twins: Sequence[Twin], connector: Connector
    ) -> tuple[list[ExchangeOrder], bool]:
        """What waits on the order's market, and what was filled since it or one like it may have been sent; and whether
        that is all.

        Asked in this order, so that what is filled in between is among the fills.
        """
        made = [order.created_at, *(twin.created_at for twin in twins)]
        since, _ = span(min(made), self._longest_sending)
        waiting = await self._sessions.ask(connector, lambda session: session.open_orders(order.symbol))
        found = {each.id: each for each in waiting}
        fills, are_all = await self._fills(order, connector, since)
        beyond = {each.order_id for each in fills if _is_beyond(order, each)}
        ids = {each.order_id for each in fills} - found.keys() - beyond
        nameless = [_from_fills(order, [each]) for each in fills if not each.order_id]
        _, taken = await self._journal.rivals(order, ids, self._settled_after)
        for order_id in sorted(ids - taken - {""}):
            of_it = [each for each in fills if each.order_id == order_id]
            reference = Reference(order.symbol, order_id, sent_at=order.created_at)
            answer = await asked(self._sessions, connector, reference)
            found[order_id] = answer or _from_fills(order, of_it)
        return [*found.values(), *nameless], are_all

    async def _fills(
        self, order: Order, connector: Connector, since: datetime
    ) -> tuple[list[ExchangeTrade], bool]:
        """Those on the order's market and side since then, and whether the exchange has told all of them."""
        found: dict[str, ExchangeTrade] = {}
        are_all = False
        for _ in range(MOST_PAGES):

            async def ask(session: Session, start: datetime = since) -> list[ExchangeTrade]:
                return list(await session.trades(order.symbol, start, MOST_TRADES))

            try:
                page = await self._sessions.ask(connector, ask)
            except FailedPrecondition as error:
                if error.reason != NOT_SUPPORTED:
                    raise
                break
            known = len(found)
            found |= {each.id: each for each in page}
            if are_all := len(page) < MOST_TRADES:
                break
            # A page that is full may have been cut between two fills of the same moment.
            since = page[-1].time + (timedelta(0) if len(found) > known else _A_MOMENT)
        return [each for each in found.values() if each.side is order.side], are_all


def _is_beyond(order: Order, fill: ExchangeTrade) -> bool:
    """Whether it was filled at a price that the order would not have taken."""
    if order.price is None:
        return False
    price = Decimal(fill.price)
    return price > order.price if order.side is OrderSide.BUY else price < order.price


def _from_fills(order: Order, fills: Sequence[ExchangeTrade]) -> FromFills:
    with localcontext(EXACT):
        filled = sum((Decimal(each.amount) for each in fills), Decimal(0))
    return FromFills(
        id=fills[0].order_id,
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
    except (FailedPrecondition, InvalidArgument) as error:
        # Of orders on a market that is no longer there an exchange tells nothing either.
        if error.reason not in (NOT_SUPPORTED, symbols.UNKNOWN):
            raise
        return None
