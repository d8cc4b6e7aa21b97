"""Orders as ccxt is asked for them: how one is sent as it is meant or not at all, cancelled, and found again.

What is here is called inside the boundary of ``CcxtExchange.call``. Any, throughout: ccxt ships no types.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt

from bridgeservice.enums import OrderSide, OrderType, TimeInForce
from bridgeservice.exchanges import client_ids
from bridgeservice.exchanges.certainty import surely_not_placed
from bridgeservice.exchanges.client_ids import ClientIds, Way
from bridgeservice.exchanges.convert import Raw
from bridgeservice.exchanges.exchange import NOT_SUPPORTED, Market, MarketType
from bridgeservice.exchanges.guarded import Attempt
from bridgeservice.exchanges.orders import Reference, Ticket
from servicekit.errors import FailedPrecondition, InvalidArgument, KeybridgeError, Violation

# Exchanges for which ccxt sends the amount of a market order to buy as what it may cost, and says nothing.
_BUYS_BY_COST = frozenset({"coincheck", "coinmate", "luno"})

# What ccxt calls it where it asks for a price of a market order to buy, to work out what that may cost.
_UNSENT = frozenset({"BAD_REQUEST", "INVALID_ORDER"})

# The names by which ccxt's features tell which times in force an exchange has.
_MAY_NOT_WAIT: Mapping[TimeInForce | None, str] = {TimeInForce.IOC: "IOC", TimeInForce.FOK: "FOK"}
_POST_ONLY = "PO"


class Sending:
    """One order on its way to the exchange, and what the last failure says of it."""

    def __init__(self, ticket: Ticket) -> None:
        self.attempt = Attempt()
        self._ticket = ticket
        self._refused = False

    async def send(self, connector: Any) -> Any:
        """May be called again after the exchange refused the request for its time: then it looked at nothing else."""
        self._refused = False
        ticket = self._ticket
        try:
            return await connector.create_order(
                ticket.symbol,
                ticket.type.value,
                ticket.side.value,
                ticket.amount,
                ticket.price or None,
                _params(ticket),
            )
        except ccxt.BaseError as error:
            self._refused = surely_not_placed(error, self.attempt.status)
            raise

    @property
    def is_surely_not_placed(self) -> bool:
        """After a failure: whether the exchange refused the order, or never heard of it."""
        return self._refused or not self.attempt.sent

    def explained(self, error: KeybridgeError, exchange_id: str) -> KeybridgeError:
        """The error, in the words of the one thing that ccxt refuses itself when all numbers are right."""
        if _buys_at_market(self._ticket) and not self.attempt.sent and error.reason in _UNSENT:
            return _buys_by_cost(exchange_id)
        return error


def _params(ticket: Ticket) -> dict[str, object]:
    params: dict[str, object] = dict(ticket.params)
    if ticket.client_order_id:
        params["clientOrderId"] = ticket.client_order_id
    if time_in_force := _MAY_NOT_WAIT.get(ticket.time_in_force):
        params["timeInForce"] = time_in_force
    if ticket.post_only:
        params["postOnly"] = True
    if ticket.reduce_only:
        params["reduceOnly"] = True
    return params


def refuse_unsendable(connector: Any, market: Market, ticket: Ticket) -> None:
    """Say so if ccxt would send something else than is meant, or the exchange would take it for something else."""
    if ticket.reduce_only and market.type is MarketType.SPOT:
        raise InvalidArgument(
            "There is no position on a spot market that an order could reduce.",
            violations=[Violation("reduce_only", "is for derivatives only")],
            reason="INVALID_ORDER",
        )
    if _buys_at_market(ticket) and connector.id in _BUYS_BY_COST:
        raise _buys_by_cost(connector.id)
    _refuse_times_in_force(connector, ticket)
    _refuse_other_digits(connector, ticket)


def rejected(exchange_id: str, answer: Raw) -> KeybridgeError | None:
    """Why there is no order, where an exchange answers well and says that it took none."""
    if answer.get("status") != "rejected":
        return None
    return FailedPrecondition(
        f"{exchange_id} rejected this order and does not say why.",
        reason="ORDER_REJECTED",
        metadata={"exchange": exchange_id},
    )


def _buys_at_market(ticket: Ticket) -> bool:
    return ticket.type is OrderType.MARKET and ticket.side is OrderSide.BUY


def _buys_by_cost(exchange_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{exchange_id} takes a market order to buy by what it may cost, not by its amount: send a limit order with "
        "IOC.",
        reason=NOT_SUPPORTED,
        metadata={"exchange": exchange_id},
    )


def _refuse_times_in_force(connector: Any, ticket: Ticket) -> None:
    """Where ccxt knows that an exchange has it not: it would be passed on all the same, and the order might rest."""
    wanted = {_POST_ONLY: ticket.post_only, _MAY_NOT_WAIT.get(ticket.time_in_force, ""): True}
    offered = connector.feature_value(ticket.symbol, "createOrder", "timeInForce", {}) or {}
    for name, is_wanted in wanted.items():
        if is_wanted and offered.get(name) is False:
            raise FailedPrecondition(
                f"{connector.id} has no {'post-only orders' if name == _POST_ONLY else name} on this market.",
                reason=NOT_SUPPORTED,
                metadata={"exchange": connector.id},
            )


def _refuse_other_digits(connector: Any, ticket: Ticket) -> None:
    """ccxt cuts off what does not fit a market's steps; an order of another size is not what was asked for."""
    sent: Mapping[str, tuple[str, Callable[[str, str], str]]] = {
        "amount": (ticket.amount, connector.amount_to_precision),
        "price": (ticket.price, connector.price_to_precision),
    }
    precision = connector.market(ticket.symbol)["precision"]
    for field, (meant, as_sent) in sent.items():
        if (
            meant
            and precision.get(field) is not None
            and Decimal(as_sent(ticket.symbol, meant)) != Decimal(meant)
        ):
            raise InvalidArgument(
                f"{connector.id} would not take this order as it is.",
                violations=[
                    Violation(field, f"has to be a multiple of this market's step ({precision[field]})")
                ],
                reason="INVALID_ORDER",
            )


async def cancel(connector: Any, order: Reference) -> None:
    ways = client_ids.of(type(connector))
    if order.id:
        await connector.cancel_order(order.id, order.symbol)
    elif ways is None or ways.way is Way.NONE:
        raise _not_by_client_id(connector.id)
    elif ways.way is Way.AS_ID:
        await connector.cancel_order(order.client_order_id, order.symbol)
    else:
        await connector.cancel_order(None, order.symbol, {"clientOrderId": order.client_order_id})


async def find(connector: Any, order: Reference) -> Raw | None:
    """The order; None when the exchange knows none and that proves that there is none."""
    if order.id:
        return await _known(connector.fetch_order(order.id, order.symbol))
    ways = client_ids.of(type(connector))
    if ways is None or ways.way is Way.NONE:
        raise _not_by_client_id(connector.id)
    found = await _ask_by_client_id(connector, ways, order)
    if found is not None and found.get("clientOrderId") != order.client_order_id:
        raise ccxt.BadResponse("another order than was asked for")
    if found is None and not _is_remembered(ways, order.sent_at):
        raise _not_by_client_id(connector.id)
    return found


async def _ask_by_client_id(connector: Any, ways: ClientIds, order: Reference) -> Raw | None:
    named = {"clientOrderId": order.client_order_id}
    if ways.way is Way.AS_ID:
        return await _known(connector.fetch_order(order.client_order_id, order.symbol))
    if ways.way is Way.PARAMETER:
        return await _known(connector.fetch_order(None, order.symbol, named))
    # The open ones first: one that ends in between is then among the closed ones.
    for ask in (connector.fetch_open_orders, connector.fetch_closed_orders):
        for each in await ask(order.symbol, params=named):
            if each["clientOrderId"] == order.client_order_id:
                return each  # type: ignore[no-any-return]  # ccxt ships no types
    return None


def _is_remembered(ways: ClientIds, sent_at: datetime | None) -> bool:
    return sent_at is not None and datetime.now(UTC) - sent_at < ways.remembered


async def _known(asked: Awaitable[Raw]) -> Raw | None:
    try:
        return await asked
    except ccxt.OrderNotFound:
        return None


def _not_by_client_id(exchange_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{exchange_id} can't be asked for this order by its client order id.",
        reason=NOT_SUPPORTED,
        metadata={"exchange": exchange_id},
    )
