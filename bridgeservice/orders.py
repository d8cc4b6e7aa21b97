"""Placing orders and reading them: an order is in the journal before it is sent, and is sent once."""

import asyncio
from dataclasses import replace
from time import monotonic
from uuid import UUID, uuid4

from bridgeservice import precision, symbols
from bridgeservice.accounts import Accounts
from bridgeservice.enums import OrderState
from bridgeservice.exchange_calls import ExchangeCalls, late
from bridgeservice.exchanges.exchange import Market, MarketType
from bridgeservice.exchanges.orders import Ticket
from bridgeservice.journal import Journal
from bridgeservice.order_records import Draft, Filter, Order, OrderWish
from bridgeservice.precedence import go_first
from bridgeservice.reconciliation_loop import Uses
from bridgeservice.records import Connector
from bridgeservice.rules import Rules, Sweeps
from bridgeservice.sending import Sending
from servicekit.errors import InvalidArgument, NotFound, Violation
from servicekit.paging import Page, Position


class Orders:
    """What callers may ask of orders but to end them. ``within`` is in seconds."""

    def __init__(
        self,
        accounts: Accounts,
        calls: ExchangeCalls,
        journal: Journal,
        rules: Rules,
        sending: Sending,
        *,
        sweeps: Sweeps,
        uses: Uses,
    ) -> None:
        self._accounts = accounts
        self._sweeps = sweeps
        self._uses = uses
        self._calls = calls
        self._journal = journal
        self._rules = rules
        self._sending = sending

    async def place(self, wish: OrderWish, *, within: float | None) -> Order:
        """Journal an order and send it; or what a wish with this request id has come to."""
        go_first()
        begun = monotonic()
        if (before := await self._journal.repeated(wish)) is not None:
            return before
        connector = self._accounts.connector(wish.account_name, wish.connector_name)
        order_id = uuid4()
        ticket, market = await self._accepted(wish.ticket, connector, order_id, within)
        judge = await self._rules.judge(connector, ticket, market)
        draft = Draft(order_id, connector, ticket, wish.repetition)
        drafted_at = monotonic()
        order, ruling = await self._journal.add(draft, judge, lease=self._sending.lease)
        self._uses(wish.account_name)
        for connector_name in ruling.cancels:
            self._sweeps.sweep(wish.account_name, connector_name)
        if order.id != order_id or order.state is not OrderState.PENDING:
            return order
        left = None if within is None else max(0, within - (monotonic() - begun))
        return await self._sending.send(order, connector, ticket, drafted_at=drafted_at, within=left)

    async def get(self, account_name: str, order_id: UUID) -> Order:
        return await self._journal.get(account_name, order_id)

    async def page(self, wanted: Filter, *, after: Position | None, size: int) -> Page[Order]:
        """The newest first."""
        page = await self._journal.page(wanted, after=after, size=size)
        self._uses(wanted.account_name)
        if not page.rows:
            await require_account(self._accounts, self._journal, wanted.account_name)
        return page

    async def _accepted(
        self, ticket: Ticket, connector: Connector, order_id: UUID, within: float | None
    ) -> tuple[Ticket, Market]:
        """The ticket as it can be sent, and its market; refused where the market does not take it."""
        try:
            async with (
                asyncio.timeout(within),
                self._calls.to(connector.exchange, connector.environment) as exchange,
            ):
                markets = await exchange.markets()
                client_order_id = exchange.client_order_id(order_id)
        except TimeoutError:
            raise late(connector.exchange, within) from None
        if ticket.symbol not in markets:
            # Looking for what was meant takes a while on an exchange with thousands of markets.
            await asyncio.to_thread(symbols.require, "symbol", [ticket.symbol], markets, connector.exchange)
        market = markets[ticket.symbol]
        if ticket.reduce_only and market.type is MarketType.SPOT:
            raise InvalidArgument(
                f"{market.symbol} is a spot market, where there is no position to reduce.",
                violations=[Violation("reduce_only", "is for derivatives only")],
                reason="INVALID_ORDER",
            )
        precision.check(ticket, market)
        return replace(ticket, client_order_id=client_order_id), market


async def require_account(accounts: Accounts, journal: Journal, name: str) -> None:
    """An account is known to the bridge that holds it, and to the journal; refuse one that neither knows."""
    try:
        accounts.get(name)
    except NotFound:
        if not await journal.knows(name):
            raise
