"""Reading a connector's trades from its exchange: from where it was left off, a bounded number of pages at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Market, MarketType
from bridgeservice.exchanges.orders import ExchangeTrade
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from bridgeservice.store import external_orders
from bridgeservice.store import reconciliations as store
from bridgeservice.store import trades as trade_store
from bridgeservice.store.reconciliations import Due
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition, InvalidArgument

ALL: Final = ""
"""In the place of a market: all spot markets at once."""

PAGE: Final = 500
_MOST_PAGES: Final = 20
_MOST_MARKETS: Final = 50
# A fill may be told later than one that came after it.
_OVERLAP: Final = timedelta(minutes=1)
# By when it surely has been told, whatever the exchange's clock says.
_TOLD: Final = timedelta(hours=1)
_A_MOMENT: Final = timedelta(milliseconds=1)
# How an exchange says that it wants a market named: for ccxt, or in words of its own.
_WANTS_A_MARKET: Final = (NOT_SUPPORTED, "BAD_REQUEST")


class HistoryReading:
    """Reads what is new of trades, and at a connector's first use what is old, back to ``backfill`` before it."""

    def __init__(
        self, database: Database, calls: ExchangeCalls, sessions: Sessions, *, backfill: timedelta
    ) -> None:
        self._database = database
        self._calls = calls
        self._sessions = sessions
        self._backfill = backfill
        self._tells_all: dict[str, bool] = {}
        """Whether an exchange tells of all markets at once, by its id."""

    async def markets(self, due: Due, connector: Connector) -> Sequence[str]:
        """What the exchange has to be asked about, one after the other: all spot markets at once, where it tells of
        those, and contracts on which something was ordered.
        """
        tells_all = await self._tells_of_all(connector)
        async with self._calls.to(connector.exchange, connector.environment) as exchange:
            markets = await exchange.markets()
        ordered = [
            markets[each]
            for each in await external_orders.markets(self._database.reads, due)
            if each in markets
        ]
        if tells_all:
            return [ALL, *(each.symbol for each in ordered if each.type is not MarketType.SPOT)]
        held = [
            each.asset for each in await self._sessions.ask(connector, lambda session: session.balances())
        ]
        likely = sorted(each.symbol for each in markets.values() if _between(each, held))
        return list(dict.fromkeys([*(each.symbol for each in ordered), *likely[:_MOST_MARKETS]]))

    async def _tells_of_all(self, connector: Connector) -> bool:
        """Whether it tells both trades and open orders so."""
        known = self._tells_all.get(connector.exchange)
        if known is not None:
            return known
        try:
            await self._sessions.ask(connector, lambda session: session.trades(None, datetime.now(UTC), 1))
            await self._sessions.ask(connector, lambda session: session.open_orders())
        except (FailedPrecondition, InvalidArgument) as error:
            if error.reason not in _WANTS_A_MARKET:
                raise
            tells = False
        else:
            tells = True
        self._tells_all[connector.exchange] = tells
        return tells

    async def read(self, due: Due, connector: Connector, markets: Sequence[str]) -> tuple[int, bool]:
        """Store what is new; how many trades that were, and whether that was all."""
        new, whole = 0, True
        for market in markets:
            since = self._start(due, market)
            for _ in range(_MOST_PAGES):
                page = await self._page(connector, market, since)
                if len(page) < PAGE:
                    new += await self._keep(due, market, page, _reached(due, page, since))
                    break
                new += await self._keep(due, market, page, page[-1].time)
                # All of a page may be of one moment.
                since = max(page[-1].time, since + _A_MOMENT)
            else:
                whole = False  # the next comparison goes on with it
        return new, whole

    def _start(self, due: Due, market: str) -> datetime:
        cursor = due.cursors.get(market)
        return datetime.fromisoformat(cursor) - _OVERLAP if cursor else due.used_since - self._backfill

    async def _page(self, connector: Connector, market: str, since: datetime) -> Sequence[ExchangeTrade]:
        return await self._sessions.ask(
            connector, lambda session: session.trades(market or None, since, PAGE)
        )

    async def _keep(
        self, due: Due, market: str, page: Sequence[ExchangeTrade], reached: datetime | None
    ) -> int:
        """The trades, and how far they go, in one transaction: a crash between the two would skip or repeat."""
        if reached is None:
            return 0
        async with self._database.transaction() as connection:
            new = await trade_store.apply(connection, due.account_id, due.connector_name, page)
            await store.move(connection, due, market, reached)
        return new


def _reached(due: Due, page: Sequence[ExchangeTrade], since: datetime) -> datetime | None:
    """Up to when all is read with the last page; None where that is not worth to be remembered."""
    told = due.claimed_at - _TOLD
    if page:
        return max(page[-1].time, told)
    return told if told - since > _TOLD else None


def _between(market: Market, assets: Sequence[str]) -> bool:
    """Whether what an account holds may have come from this market."""
    return market.type is MarketType.SPOT and market.base in assets and market.quote in assets
