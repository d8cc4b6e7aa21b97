"""Comparing one connector's exchange with the journal: what is open, what has vanished, and what was traded.

The order of the steps matters. What the journal thought open is read before the exchange is asked, so that only what
the exchange had time to tell is looked for; and what the exchange tells is looked up in the journal after that, so that
an order that was placed meanwhile is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bridgeservice.enums import OrderState
from bridgeservice.exchanges.exchange import NOT_SUPPORTED
from bridgeservice.exchanges.orders import ExchangeOrder
from bridgeservice.history_reading import ALL, HistoryReading
from bridgeservice.journal import Journal
from bridgeservice.order_records import GIVEN_UP, Filter, Order, Outcome, told
from bridgeservice.records import Connector
from bridgeservice.search import asked
from bridgeservice.sessions import Sessions
from bridgeservice.store import accounts, risk
from bridgeservice.store import external_orders as store
from bridgeservice.store.reconciliations import Due
from servicekit import logs
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition

# An order made elsewhere costs a question to the exchange; the rest is asked about the next time.
_MOST_UNKNOWN: Final = 50
# An exchange may list an order a moment after it has acknowledged it.
_TOO_YOUNG: Final = timedelta(seconds=10)

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison has brought."""

    new_trades: int
    whole: bool
    """Whether everything was read; else the next comparison goes on."""


class Reconciliation:
    """Makes the journal equal the exchange, for one connector at a time."""

    def __init__(
        self, database: Database, journal: Journal, sessions: Sessions, history: HistoryReading
    ) -> None:
        self._database = database
        self._journal = journal
        self._sessions = sessions
        self._history = history

    async def compare(self, due: Due, connector: Connector) -> Found:
        """Read the exchange, and bring the journal to what it says."""
        thought_open = await self._open(due)
        markets = await self._history.markets(due, connector)
        listed = await self._listed(connector, markets)
        await self._learn(due, connector, listed)
        trades = await self._trades(due, connector, markets)
        there = {(each.symbol, each.id) for each in listed}
        for order in thought_open:
            if order.exchange_order_id and (order.symbol, order.exchange_order_id) not in there:
                sure = trades is not None and trades.whole and (ALL in markets or order.symbol in markets)
                await self._look_up(order, connector, sure=sure)
        await self._learn_of_unknown(due, connector)
        return trades or Found(0, whole=True)

    async def _open(self, due: Due) -> Sequence[Order]:
        return await self._journal.all_open(Filter(due.account_name, due.connector_name, open_only=True))

    async def _listed(self, connector: Connector, markets: Sequence[str]) -> list[ExchangeOrder]:
        """What the exchange has open on these markets."""
        found: list[ExchangeOrder] = []
        for market in markets:
            found += await self._open_on(connector, market)
        return found

    async def _open_on(self, connector: Connector, market: str) -> Sequence[ExchangeOrder]:
        return await self._sessions.ask(connector, lambda session: session.open_orders(market or None))

    async def _trades(self, due: Due, connector: Connector, markets: Sequence[str]) -> Found | None:
        """What is new of trades; None where the exchange tells of none."""
        try:
            return Found(*await self._history.read(due, connector, markets))
        except FailedPrecondition as error:
            if error.reason != NOT_SUPPORTED:
                raise
            return None

    async def _learn(self, due: Due, connector: Connector, listed: Sequence[ExchangeOrder]) -> None:
        """Write what the exchange tells of orders, and journal those that were made elsewhere."""
        known = await store.known(self._database.reads, due, listed)
        strangers, seen = [], []
        for each in listed:
            order = known.get((each.symbol, each.id))
            if order is None:
                strangers.append(each)
            elif order.reason in GIVEN_UP:
                await self._journal.take_back(order, told(each), due.account_id)
            elif not order.ended and _says_more(each, order):
                await self._journal.write(order, told(each))
            else:
                seen.append(order.id)
        if seen:
            await self._journal.adopt(seen)
        if strangers:
            await self._add(due, connector, strangers)

    async def _add(self, due: Due, connector: Connector, strangers: Sequence[ExchangeOrder]) -> None:
        # While it is not known what became of an order of ours, a stranger on its market may be that order.
        unsettled = {
            each.symbol
            for each in await self._open(due)
            if not each.settled and each.exchange_order_id is None
        }
        for each in strangers:
            if each.symbol in unsettled or each.side is None or not each.amount:
                continue
            async with self._database.transaction() as connection:
                # Held, so that of a kill switch and an order either knows of the other.
                await accounts.hold(connection, due.account_name)
                unwanted = await risk.cancels(connection, due.account_id, due.connector_name)
                if await store.add(connection, due, connector, each, unwanted=unwanted):
                    _log.info("found an order that was made elsewhere", exchange=connector.exchange)

    async def _look_up(self, order: Order, connector: Connector, *, sure: bool) -> None:
        """What became of an order that the exchange does not list any more, beyond what its trades have told.

        That it is nowhere ends it only where all that was to be read is ``sure`` to have been.
        """
        if (await self._journal.get(order.account_name, order.id)).ended:
            return
        answer = await asked(self._sessions, connector, order.reference)
        if answer is not None:
            await self._journal.write(order, told(answer))
        elif sure:
            # Acknowledged, and now neither listed nor known: it is not on the book, whatever was filled.
            over = Outcome(OrderState.CANCELED, not_before=order.updated_at + _TOO_YOUNG)
            await self._journal.write(order, over)

    async def _learn_of_unknown(self, due: Due, connector: Connector) -> None:
        """Orders that were made and filled elsewhere between two comparisons are known by their trades only."""
        owners = await store.owners(self._database.reads, due, _MOST_UNKNOWN)
        if known := [order_id for _, order_id in owners if order_id is not None]:
            await self._journal.adopt(known)
        found = [
            await asked(self._sessions, connector, reference)
            for reference, order_id in owners
            if order_id is None
        ]
        await self._learn(due, connector, [each for each in found if each is not None])


def _says_more(told_now: ExchangeOrder, order: Order) -> bool:
    """Whether the exchange tells anything that the journal does not have."""
    outcome = told(told_now)
    return (
        outcome.state is not order.state
        or (outcome.filled is not None and outcome.filled > order.filled)
        or order.exchange_order_id is None
    )
