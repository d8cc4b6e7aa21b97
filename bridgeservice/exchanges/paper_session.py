"""A connector of the paper exchange: its balances and orders, in PostgreSQL, matched against prices.

An order that can be filled at once is, as a whole: a market order or a limit that the market meets. Others wait with
what they need set aside, and are matched when anyone next looks; one that may not wait is canceled at once. Each
change is one transaction under the lock of the connector's own row, and prices are asked for outside of it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from bridgeservice import precision
from bridgeservice.enums import OrderSide, OrderType, PaperOrderState, TimeInForce
from bridgeservice.exchanges import paper_orders
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Balance, Owner, Permission, Permissions, Ticker
from bridgeservice.exchanges.orders import (
    ExchangeOrder,
    ExchangeTrade,
    Position,
    Reference,
    Refusal,
    Ticket,
)
from bridgeservice.exchanges.paper_orders import PaperOrder
from bridgeservice.exchanges.paper_prices import Clock, Prices, Waiting
from bridgeservice.needs import required
from bridgeservice.store import paper as store
from servicekit.database.engine import Connection, Database
from servicekit.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    KeybridgeError,
    NotFound,
    Unavailable,
    Violation,
)

_MAY_NOT_WAIT = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class _TooLittleError(Exception):
    """The account cannot pay for an order; what was written for it is undone."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every paper account begins with, and what every order pays of its cost."""

    balances: Mapping[str, Decimal]
    fee_rate: Decimal


class PaperSession:
    """One connector of the paper exchange in use. It holds nothing: all of it is in the database."""

    def __init__(
        self,
        owner: Owner,
        prices: Prices,
        database: Database | None,
        terms: Terms,
        clock: Clock,
        interfere: Callable[[], Awaitable[None]],
    ) -> None:
        self._owner = owner
        self._prices = prices
        self._database = database
        self._terms = terms
        self._clock = clock
        self._interfere = interfere

    async def balances(self) -> Sequence[Balance]:
        """What the account holds now; it is made, with what it starts with, when it was never used."""
        await self._interfere()
        await self._match()
        found = await store.balances(self._needed().reads, self._owner)
        if not found:
            async with self._needed().transaction() as connection:
                await store.open_account(connection, self._owner, self._terms.balances)
            found = await store.balances(self._needed().reads, self._owner)
        return found

    async def permissions(self) -> Permissions:
        """There are no credentials to prove: whoever has the connector may do all that paper offers."""
        await self.balances()
        return Permissions(read=Permission.YES, trade=Permission.YES, withdraw=Permission.NO)

    async def close(self) -> None:
        """There is nothing to forget."""

    async def place(self, ticket: Ticket) -> ExchangeOrder | Refusal:
        """Fill the order at once, or let it wait, or say why not."""
        try:
            await self._interfere()
            await self._match()
            order = await self._new_order(ticket)
            at = _price_for(order, await self._prices.ticker(order.symbol))
            if at is not None and ticket.post_only:
                raise FailedPrecondition(
                    "paper would fill this order at once, which it asks not to be.",
                    reason="ORDER_IMMEDIATELY_FILLABLE",
                )
        except KeybridgeError as error:
            return Refusal(error)  # whatever it was, nothing of the order is written yet
        if at is None and ticket.time_in_force in _MAY_NOT_WAIT:
            order = replace(order, state=PaperOrderState.CANCELED)
        try:
            async with self._needed().transaction() as connection:
                return paper_orders.told(await self._add(connection, order, at))
        except _TooLittleError:
            spent = order.quote if order.side is OrderSide.BUY else order.base
            return Refusal(
                FailedPrecondition(
                    f"The account has too little {spent} for this order.", reason="INSUFFICIENT_FUNDS"
                )
            )

    async def cancel(self, order: Reference) -> None:
        """Take back an order that waits, with what was set aside for it."""
        await self._interfere()
        await self._match()
        async with self._needed().transaction() as connection:
            paper_id = await self._lock(connection)
            found = await store.order(connection, self._owner, order)
            if found is None:
                raise NotFound("paper has no such order.", reason="ORDER_NOT_FOUND")
            canceled = await store.end(connection, paper_id, [found.id], PaperOrderState.CANCELED)
            for each in canceled:
                await store.change(connection, paper_id, paper_orders.release(each))
        if not canceled:
            raise FailedPrecondition(
                f"This order is {found.state.value}: only an open one can be canceled.",
                reason="ORDER_NOT_OPEN",
            )

    async def order(self, order: Reference) -> ExchangeOrder | None:
        await self._interfere()
        await self._match()
        found = await store.order(self._needed().reads, self._owner, order)
        return None if found is None else paper_orders.told(found)

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeOrder]:
        """Those that wait, the oldest first."""
        await self._interfere()
        await self._match()
        found = await store.open_orders(self._needed().reads, self._owner)
        return [paper_orders.told(each) for each in found if symbol in (None, each.symbol)]

    async def trades(self, symbol: str | None, since: datetime, limit: int) -> Sequence[ExchangeTrade]:
        await self._interfere()
        await self._match()
        found = await store.fills(self._needed().reads, self._owner, symbol, since, limit)
        return [paper_orders.trade(order, fill) for order, fill in found]

    async def positions(self) -> Sequence[Position]:
        """It trades nothing but spot."""
        return ()

    async def cancel_all_after(self, pause: timedelta) -> None:
        del pause
        raise FailedPrecondition("paper has no switch that cancels orders later.", reason=NOT_SUPPORTED)

    async def _match(self) -> None:
        """Fill what waits and has met its price since; without anything that does, one read."""
        waiting = [_waiting(order) for order in await store.open_orders(self._needed().reads, self._owner)]
        reached = await self._prices.reached(waiting) if waiting else {}
        if not reached:
            return
        async with self._needed().transaction() as connection:
            paper_id = await self._lock(connection)
            orders = await store.end(connection, paper_id, list(reached), PaperOrderState.FILLED)
            fills = [(each, paper_orders.fill(each, each.limit, reached[each.id])) for each in orders]
            changes = [paper_orders.release(each) for each in orders]
            changes += [paper_orders.exchange(each, fill) for each, fill in fills]
            if fills:
                await store.add_fills(connection, fills)
                await store.change(connection, paper_id, paper_orders.together(changes))

    async def _new_order(self, ticket: Ticket) -> PaperOrder:
        """The order as it will be kept, once the market takes its numbers."""
        market = (await self._prices.markets()).get(ticket.symbol)
        if market is None or not market.active:
            raise InvalidArgument(f"paper does not trade {ticket.symbol!r} now.", reason="UNKNOWN_SYMBOL")
        _refuse_what_spot_has_not(ticket)
        amount, price = precision.check(ticket, market)
        return PaperOrder(
            id=uuid4(),
            client_order_id=ticket.client_order_id or None,
            symbol=ticket.symbol,
            side=ticket.side,
            type=ticket.type,
            state=PaperOrderState.OPEN,
            amount=amount,
            price=price,
            fee_rate=self._terms.fee_rate,
            created_at=self._clock(),
        )

    async def _add(self, connection: Connection, order: PaperOrder, at: Decimal | None) -> PaperOrder:
        """Filled at that price, or waiting or canceled where there is none."""
        paper_id = await self._lock(connection)
        done = None if at is None else paper_orders.fill(order, at, order.created_at)
        if done is not None:
            order = replace(order, state=PaperOrderState.FILLED, fill=done)
        if not await store.add_order(connection, paper_id, order):
            raise AlreadyExists(
                "There is an order with this client order id already.", reason="DUPLICATE_ORDER_ID"
            )
        changes = paper_orders.reserve(order) if done is None else paper_orders.exchange(order, done)
        if not await store.affords(connection, paper_id, changes):
            raise _TooLittleError
        if order.state is not PaperOrderState.CANCELED:
            await store.change(connection, paper_id, changes)
        if done is not None:
            await store.add_fills(connection, [(order, done)])
        return order

    async def _lock(self, connection: Connection) -> UUID:
        """The account, which is made when there is none, and nobody else's to change until the transaction ends."""
        found = await store.lock(connection, self._owner)
        if found is not None:
            return found
        await store.open_account(connection, self._owner, self._terms.balances)
        return await self._lock(connection)

    def _needed(self) -> Database:
        return required(self._database, "paper keeps balances and orders")


def _refuse_what_spot_has_not(ticket: Ticket) -> None:
    if ticket.reduce_only or ticket.params:
        field = "reduce_only" if ticket.reduce_only else "params"
        raise InvalidArgument(
            f"paper trades spot and knows no {field}.",
            violations=[Violation(field, "paper does not know it: leave it out")],
            reason="INVALID_ORDER",
        )


def _price_for(order: PaperOrder, ticker: Ticker) -> Decimal | None:
    """The price at which the market fills the order now; None when it does not."""
    bid, ask = (
        Decimal(each or ticker.last) if each or ticker.last else None for each in (ticker.bid, ticker.ask)
    )
    offer = ask if order.side is OrderSide.BUY else bid
    if order.type is OrderType.MARKET:
        if offer is None:
            raise Unavailable(
                f"There is no price for {order.symbol} now; try again.", reason="EXCHANGE_UNAVAILABLE"
            )
        return offer
    if bid is None or ask is None:
        return None
    return offer if _waiting(order).is_reached_by(bid, ask) else None


def _waiting(order: PaperOrder) -> Waiting:
    return Waiting(order.id, order.symbol, order.side, order.limit, order.created_at)
