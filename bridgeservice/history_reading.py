"""Reading a connector's trades from its exchange: from where it was left off, a bounded number of pages at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from bridgeservice.exchange_calls import ExchangeCalls
from bridgeservice.exchanges.exchange import Market, MarketType
from bridgeservice.exchanges.orders import ExchangeTrade
from bridgeservice.records import Connector
from bridgeservice.sessions import Sessions
from bridgeservice.store import external_orders
from bridgeservice.store import reconciliations as store
from bridgeservice.store import trades as trade_store
from bridgeservice.store.reconciliations import Due
from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition

PAGE: Final = 500
_MOST_PAGES: Final = 20
_MOST_MARKETS: Final = 50
_ALL: Final = ""
# A fill may be told later than one that came after it.
_OVERLAP: Final = timedelta(minutes=1)
_A_MOMENT: Final = timedelta(milliseconds=1)


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

    async def markets(self, due: Due, connector: Connector) -> Sequence[str] | None:
        """On which markets the exchange has to be asked one by one; None when it tells of all at once."""
        if await self._tells_of_all(connector):
            return None
        ordered = await external_orders.markets(self._database.reads, due)
        held = [
            each.asset for each in await self._sessions.ask(connector, lambda session: session.balances())
        ]
        async with self._calls.to(connector.exchange, connector.environment) as exchange:
            markets = await exchange.markets()
        likely = sorted(each.symbol for each in markets.values() if _between(each, held))
        return list(dict.fromkeys([*ordered, *likely[:_MOST_MARKETS]]))

    async def _tells_of_all(self, connector: Connector) -> bool:
        known = self._tells_all.get(connector.exchange)
        if known is not None:
            return known
        try:
            await self._sessions.ask(connector, lambda session: session.trades(None, datetime.now(UTC), 1))
        except FailedPrecondition as error:
            if error.reason != "NOT_SUPPORTED":
                raise
            tells = False
        else:
            tells = True
        self._tells_all[connector.exchange] = tells
        return tells

    async def read(self, due: Due, connector: Connector, markets: Sequence[str] | None) -> tuple[int, bool]:
        """Store what is new; how many trades that were, and whether that was all."""
        new, whole = 0, True
        for market in [_ALL] if markets is None else markets:
            since = self._start(due, market)
            for _ in range(_MOST_PAGES):
                page = await self._page(connector, market, since)
                new += await self._keep(due, market, page)
                if len(page) < PAGE:
                    break
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

    async def _keep(self, due: Due, market: str, page: Sequence[ExchangeTrade]) -> int:
        """The trades, and how far they go, in one transaction: a crash between the two would skip or repeat."""
        if not page:
            return 0
        async with self._database.transaction() as connection:
            new = await trade_store.apply(connection, due.account_id, due.connector_name, page)
            await store.move(connection, due, market, page[-1].time)
        return new


def _between(market: Market, assets: Sequence[str]) -> bool:
    """Whether what an account holds may have come from this market."""
    return market.type is MarketType.SPOT and market.base in assets and market.quote in assets
