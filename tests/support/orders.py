"""Tickets as tests write them, and what became of them."""

from typing import Any

from bridgeservice.enums import OrderSide, OrderType
from bridgeservice.exchanges.orders import ExchangeOrder, Reference, Refusal, Ticket
from servicekit.errors import KeybridgeError


def market(side: OrderSide, amount: str, symbol: str = "BTC/USDT", **more: Any) -> Ticket:
    return Ticket(symbol, side, OrderType.MARKET, amount, **more)


def limit(side: OrderSide, amount: str, price: object, symbol: str = "BTC/USDT", **more: Any) -> Ticket:
    return Ticket(symbol, side, OrderType.LIMIT, amount, str(price), **more)


def accepted(answer: ExchangeOrder | Refusal) -> ExchangeOrder:
    """The order that was placed."""
    assert isinstance(answer, ExchangeOrder), answer
    return answer


def refused(answer: ExchangeOrder | Refusal) -> KeybridgeError:
    """Why none was placed."""
    assert isinstance(answer, Refusal), answer
    return answer.error


def named(order: ExchangeOrder) -> Reference:
    """The order, by the exchange's id."""
    return Reference(order.symbol, id=order.id)
