"""ccxt's orders, trades and positions as our records, by the rules of ``convert``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

from bridgeservice.enums import OrderSide, OrderState, OrderType, TimeInForce
from bridgeservice.exchanges.convert import Raw, moment, number
from bridgeservice.exchanges.orders import ExchangeOrder, ExchangeTrade, Fee, Position, PositionSide, Ticket

_STATES: Mapping[object, OrderState] = {
    "open": OrderState.OPEN,
    "closed": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "canceling": OrderState.OPEN,  # it may still be filled
    "expired": OrderState.EXPIRED,
    "rejected": OrderState.REJECTED,
}
_TIMES_IN_FORCE: Mapping[object, TimeInForce] = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PO": TimeInForce.GTC,  # post only, which ccxt tells in this place
}
_SIDES: Mapping[object, OrderSide] = {side.value: side for side in OrderSide}
_TYPES: Mapping[object, OrderType] = {kind.value: kind for kind in OrderType}
_POSITION_SIDES: Mapping[object, PositionSide] = {side.value: side for side in PositionSide}
# More digits than sums of fees ever have.
_DIGITS = 80


def order(answer: Raw) -> ExchangeOrder:
    """An order that was asked for."""
    filled = number(answer.get("filled"))
    kind = _TYPES.get(answer.get("type"))
    return ExchangeOrder(
        id=_text(answer["id"]),
        symbol=_text(answer["symbol"]),
        state=_state(answer, filled),
        client_order_id=answer.get("clientOrderId") or "",
        side=_SIDES.get(answer.get("side")),
        type=kind,
        time_in_force=_TIMES_IN_FORCE.get(answer.get("timeInForce")),
        amount=_something(answer.get("amount")),
        # ccxt writes the average here where a market order has no price.
        price="" if kind is OrderType.MARKET else _something(answer.get("price")),
        filled=filled,
        average_price=_something(answer.get("average")),
        cost=number(answer.get("cost")),
        fees=fees(answer),
        time=moment(answer.get("timestamp")),
    )


def placed(ticket: Ticket, answer: Raw) -> ExchangeOrder:
    """An order that the exchange has just taken; what its answer leaves out is as it was asked for."""
    told = order({**answer, "symbol": answer.get("symbol") or ticket.symbol})
    return replace(
        told,
        # An exchange that gives it an id and no state has it, and says no more.
        state=told.state if answer.get("status") else OrderState.OPEN,
        client_order_id=told.client_order_id or ticket.client_order_id,
        side=ticket.side,
        type=ticket.type,
        time_in_force=told.time_in_force or ticket.time_in_force,
        amount=told.amount or ticket.amount,
        price=told.price or ticket.price,
    )


def trade(answer: Raw) -> ExchangeTrade:
    time = moment(answer["timestamp"])
    if time is None:
        raise ValueError("a trade without a time")
    return ExchangeTrade(
        id=_text(answer["id"]),
        order_id=answer.get("order") or "",
        symbol=_text(answer["symbol"]),
        side=OrderSide(answer["side"]),
        amount=_text(number(answer["amount"])),
        price=_text(number(answer["price"])),
        cost=number(answer.get("cost")),
        time=time,
        fees=fees(answer),
    )


def positions(answer: Iterable[Raw]) -> list[Position]:
    """Those that are open, by symbol."""
    found = (_position(each) for each in answer)
    return sorted((each for each in found if each.amount), key=lambda each: (each.symbol, each.side.value))


def _position(answer: Raw) -> Position:
    return Position(
        symbol=_text(answer["symbol"]),
        side=_POSITION_SIDES.get(answer.get("side") or "", PositionSide.OTHER),
        amount=_something(answer.get("contracts")),
        entry_price=_something(answer.get("entryPrice")),
        mark_price=_something(answer.get("markPrice")),
        unrealized_pnl=number(answer.get("unrealizedPnl")),
        leverage=_something(answer.get("leverage")),
        liquidation_price=_something(answer.get("liquidationPrice")),
        time=moment(answer.get("lastUpdateTimestamp") or answer.get("timestamp")),
    )


def fees(answer: Raw) -> Sequence[Fee]:
    """What was taken, one entry an asset; where nothing was, none."""
    total: dict[str, Decimal] = {}
    told: Sequence[Mapping[str, Any]] = answer.get("fees") or [answer.get("fee") or {}]
    with localcontext(prec=_DIGITS):
        for fee in told:
            asset, cost = fee.get("currency"), number(fee.get("cost"))
            if asset and cost:
                total[asset] = total[asset] + Decimal(cost) if asset in total else Decimal(cost)
    return [Fee(asset, format(cost, "f")) for asset, cost in sorted(total.items()) if cost]


def _state(answer: Raw, filled: str) -> OrderState:
    state = _STATES.get(answer.get("status"), OrderState.UNKNOWN)
    if state is OrderState.FILLED and _is_short(answer, filled):
        return OrderState.CANCELED  # closed by its end, and not by being filled
    return state


def _is_short(answer: Raw, filled: str) -> bool:
    """Whether less was filled than was asked for. Of market orders some exchanges tell an amount that they worked out,
    so of those only nothing at all is less.
    """
    if not filled or answer.get("amount") is None:
        return False
    wanted = Decimal(number(answer["amount"]))
    return Decimal(filled) < wanted if answer.get("type") == "limit" else not Decimal(filled)


def _something(value: object) -> str:
    """A number; empty where an exchange writes a zero for there being none."""
    text = number(value)
    return text if text and Decimal(text) else ""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a part that has to be there is missing")
    return value
