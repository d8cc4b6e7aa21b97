"""Orders on the paper exchange: what was made of a ticket, what that does to the balances, and how it is told.

All of it is exact: an amount times a price has as many digits as it needs, and is never rounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Final, TypeAlias, cast
from uuid import UUID

from bridgeservice.amounts import EXACT
from bridgeservice.enums import OrderSide, OrderState, OrderType, PaperOrderState
from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Fee

_STATES: Final[Mapping[PaperOrderState, OrderState]] = {
    PaperOrderState.OPEN: OrderState.OPEN,
    PaperOrderState.FILLED: OrderState.FILLED,
    PaperOrderState.CANCELED: OrderState.CANCELED,
}


@dataclass(frozen=True, slots=True)
class PaperFill:
    """What came of an order: at which price, what that cost, and the fee, which is paid in the quote asset."""

    price: Decimal
    cost: Decimal
    fee: Decimal
    fee_asset: str
    time: datetime


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """An order as the paper exchange keeps it."""

    id: UUID
    client_order_id: str | None
    symbol: str
    side: OrderSide
    type: OrderType
    state: PaperOrderState
    amount: Decimal
    price: Decimal | None
    fee_rate: Decimal
    created_at: datetime
    fill: PaperFill | None = None

    @property
    def base(self) -> str:
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.split("/")[1]

    @property
    def limit(self) -> Decimal:
        """Asked of limit orders only, and they have one: the table says so too."""
        return cast(Decimal, self.price)


@dataclass(frozen=True, slots=True)
class Change:
    """By how much a balance becomes more or less."""

    free: Decimal = Decimal(0)
    used: Decimal = Decimal(0)


Changes: TypeAlias = Mapping[str, Change]
"""By asset."""


def reserve(order: PaperOrder) -> Changes:
    """What an order that waits sets aside, so that it can be filled whenever its time comes."""
    with localcontext(EXACT):
        if order.side is OrderSide.SELL:
            return {order.base: Change(free=-order.amount, used=order.amount)}
        most = order.amount * order.limit * (1 + order.fee_rate)
        return {order.quote: Change(free=-most, used=most)}


def release(order: PaperOrder) -> Changes:
    """The reverse of ``reserve``."""
    with localcontext(EXACT):
        return {asset: Change(-each.free, -each.used) for asset, each in reserve(order).items()}


def fill(order: PaperOrder, price: Decimal, time: datetime) -> PaperFill:
    """The whole of an order at one price."""
    with localcontext(EXACT):
        cost = order.amount * price
        return PaperFill(price, cost, cost * order.fee_rate, order.quote, time)


def exchange(order: PaperOrder, done: PaperFill) -> Changes:
    """What a fill takes from what is free, and adds to it."""
    with localcontext(EXACT):
        if order.side is OrderSide.BUY:
            return {order.base: Change(order.amount), order.quote: Change(-done.cost - done.fee)}
        return {order.base: Change(-order.amount), order.quote: Change(done.cost - done.fee)}


def together(several: Iterable[Changes]) -> Changes:
    """Their sum."""
    total: dict[str, Change] = {}
    with localcontext(EXACT):
        for changes in several:
            for asset, change in changes.items():
                before = total.get(asset, Change())
                total[asset] = Change(before.free + change.free, before.used + change.used)
    return total


def told(order: PaperOrder) -> ExchangeOrder:
    """The order as an exchange tells of it."""
    done = order.fill
    return ExchangeOrder(
        id=str(order.id),
        symbol=order.symbol,
        state=_STATES[order.state],
        client_order_id=order.client_order_id or "",
        side=order.side,
        type=order.type,
        amount=_text(order.amount),
        price="" if order.price is None else _text(order.price),
        filled="0" if done is None else _text(order.amount),
        average_price="" if done is None else _text(done.price),
        cost="0" if done is None else _text(done.cost),
        fees=() if done is None else (Fee(done.fee_asset, _text(done.fee)),),
        time=order.created_at,
    )


def trade(order: PaperOrder, done: PaperFill) -> ExchangeTrade:
    """The fill as an exchange tells of it. There is one for each order, so it goes by the order's id."""
    return ExchangeTrade(
        id=str(order.id),
        order_id=str(order.id),
        symbol=order.symbol,
        side=order.side,
        amount=_text(order.amount),
        price=_text(done.price),
        cost=_text(done.cost),
        time=done.time,
        fees=(Fee(done.fee_asset, _text(done.fee)),),
    )


def _text(number: Decimal) -> str:
    return format(number, "f")
