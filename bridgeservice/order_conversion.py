"""Between the contract's orders and those that use cases speak of."""

import hashlib
from collections.abc import Collection, Mapping
from decimal import Decimal, localcontext
from typing import Final, TypeVar

from bridgeservice import conversion
from bridgeservice.amounts import EXACT, LONGEST_GIVEN, plain
from bridgeservice.enums import OrderSide, OrderType, TimeInForce
from bridgeservice.exchanges.orders import Position, PositionSide, Ticket
from bridgeservice.order_records import Order, OrderWish, Repetition
from bridgeservice.v1 import order_pb2, position_pb2
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.validation import Checks

T = TypeVar("T")

_SIDES: Final[Mapping[int, OrderSide]] = {
    order_pb2.ORDER_SIDE_BUY: OrderSide.BUY,
    order_pb2.ORDER_SIDE_SELL: OrderSide.SELL,
}
_TYPES: Final[Mapping[int, OrderType]] = {
    order_pb2.ORDER_TYPE_MARKET: OrderType.MARKET,
    order_pb2.ORDER_TYPE_LIMIT: OrderType.LIMIT,
}
_TIMES_IN_FORCE: Final[Mapping[int, TimeInForce | None]] = {
    order_pb2.TIME_IN_FORCE_UNSPECIFIED: None,
    order_pb2.TIME_IN_FORCE_GTC: TimeInForce.GTC,
    order_pb2.TIME_IN_FORCE_IOC: TimeInForce.IOC,
    order_pb2.TIME_IN_FORCE_FOK: TimeInForce.FOK,
}
_PARAMS_SHOWN = 64
_LONGEST_PARAM = 256


def wish(check: Checks, request: pb.PlaceOrderRequest, allowed_params: Collection[str]) -> OrderWish:
    side = _known(check, "side", request.side, _SIDES, "BUY or SELL")
    kind = _known(check, "type", request.type, _TYPES, "MARKET or LIMIT")
    time_in_force = _known(check, "time_in_force", request.time_in_force, _TIMES_IN_FORCE, "GTC, IOC or FOK")
    if kind is OrderType.MARKET and time_in_force is not None:
        check.add("time_in_force", "is for limit orders only: a market order does not wait")
    if kind is OrderType.MARKET and request.post_only:
        check.add("post_only", "is for limit orders only: a market order never waits in the book")
    if request.post_only and time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
        check.add("post_only", "contradicts time_in_force: what is filled at once or not at all can't wait")
    _check_sizes(check, request.params)
    for name in sorted(request.params):
        if name not in allowed_params:
            shown = name if name.isprintable() and len(name) <= _PARAMS_SHOWN else "?"
            check.add(f"params[{shown}]", "is not allowed by this bridge's settings")
    if kind is OrderType.LIMIT and time_in_force is None:
        time_in_force = TimeInForce.GTC
    request_id = check.optional_id("request_id", request.request_id)
    return OrderWish(
        account_name=check.name("account_name", request.account_name),
        connector_name=check.name("connector_name", request.connector_name),
        ticket=Ticket(
            symbol=check.symbol("symbol", request.symbol),
            side=side or OrderSide.BUY,
            type=kind or OrderType.MARKET,
            amount=check.text("amount", request.amount, longest=LONGEST_GIVEN),
            price=check.text("price", request.price, longest=LONGEST_GIVEN),
            time_in_force=time_in_force,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            params=dict(request.params),
        ),
        repetition=Repetition(request_id, _hash(request)) if request_id else None,
    )


def _check_sizes(check: Checks, params: Mapping[str, str]) -> None:
    longest = max((len(text) for entry in params.items() for text in entry), default=0)
    if longest > _LONGEST_PARAM:
        check.add("params", f"has a text of {longest} characters; at most {_LONGEST_PARAM} are allowed")


def order(found: Order) -> order_pb2.Order:
    filled, remaining = _filled(found)
    return order_pb2.Order(
        order_id=str(found.id),
        exchange_order_id=found.exchange_order_id or "",
        client_order_id=found.client_order_id or "",
        account_name=found.account_name,
        connector_name=found.connector_name,
        symbol=found.symbol,
        side=f"ORDER_SIDE_{found.side.name}",
        type=f"ORDER_TYPE_{found.type.name if found.type else 'UNSPECIFIED'}",
        time_in_force=f"TIME_IN_FORCE_{found.time_in_force.name if found.time_in_force else 'UNSPECIFIED'}",
        state=f"ORDER_STATE_{found.state.name}",
        reason=found.reason or "",
        amount=plain(found.amount),
        filled=plain(filled),
        remaining=plain(remaining),
        price=plain(found.price),
        average_price=plain(found.average_price),
        cost=plain(found.cost),
        fees=conversion.fees(found.fees),
        external=found.external,
        create_time=found.created_at,
        update_time=found.updated_at,
    )


def position(found: Position) -> position_pb2.Position:
    return position_pb2.Position(
        symbol=found.symbol,
        side="POSITION_SIDE_UNSPECIFIED"
        if found.side is PositionSide.OTHER
        else f"POSITION_SIDE_{found.side.name}",
        amount=found.amount,
        entry_price=found.entry_price,
        mark_price=found.mark_price,
        unrealized_pnl=found.unrealized_pnl,
        leverage=found.leverage,
        liquidation_price=found.liquidation_price,
    )


def _filled(found: Order) -> tuple[Decimal | None, Decimal | None]:
    """What is filled and what is not; neither is known while it is not known what became of the order."""
    if not found.settled and not found.filled:
        return None, None
    with localcontext(EXACT):
        return found.filled, found.amount - found.filled


def _known(check: Checks, field: str, value: int, known: Mapping[int, T], names: str) -> T | None:
    """Proto3 enums are open: a number of a later contract arrives as it is."""
    if value not in known:
        check.add(field, f"is required: {names}" if value == 0 else f"{value} is none of {names}")
    return known.get(value)


def _hash(request: pb.PlaceOrderRequest) -> bytes:
    """Of all that is asked for, but for the id under which it is."""
    body = pb.PlaceOrderRequest()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return hashlib.sha256(body.SerializeToString(deterministic=True)).digest()
