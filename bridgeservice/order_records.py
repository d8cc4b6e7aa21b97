"""What use cases speak of where orders are concerned: as they are asked for, as the journal has them, and outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from bridgeservice.enums import OrderSide, OrderState, OrderType, TimeInForce
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.orders import ExchangeOrder, Reference, Ticket
from bridgeservice.records import Connector

UNSETTLED: Final = frozenset({OrderState.PENDING, OrderState.UNKNOWN})
NOT_ENDED: Final = UNSETTLED | {OrderState.OPEN}

INTERRUPTED: Final = "INTERRUPTED"
"""Whoever was sending it did not say in time what came of that."""
NOT_PLACED: Final = "NOT_PLACED"
"""The exchange does not know it, and had time enough to."""
NEVER_SEEN: Final = "NEVER_SEEN"
"""It is neither on the book nor was it filled. Whether it ever was placed the exchange can't be asked."""
GIVEN_UP: Final = (NOT_PLACED, NEVER_SEEN)
"""With one of these an order has ended by our own judgement, and is open after all if the exchange ever shows it."""
AMBIGUOUS: Final = "AMBIGUOUS"
"""The exchange has orders or fills of which each may be this one's."""
CANCEL_ACKNOWLEDGED: Final = "CANCEL_ACKNOWLEDGED"
"""The exchange has taken the request to end it, and has not told yet what it came to."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """A caller's request id, by which a repetition is known, and the hash of what came with it."""

    request_id: UUID
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class OrderWish:
    """An order as a caller asks for it. Whether the market takes it is not proven yet."""

    account_name: str
    connector_name: str
    ticket: Ticket
    repetition: Repetition | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An order that is to be journalled."""

    id: UUID
    connector: Connector
    ticket: Ticket
    repetition: Repetition | None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the journal has it."""

    id: UUID
    account_id: UUID
    account_name: str
    connector_name: str
    exchange: str
    environment: Environment
    body_hash: bytes | None
    exchange_order_id: str | None
    client_order_id: str | None
    symbol: str
    side: OrderSide
    type: OrderType | None
    time_in_force: TimeInForce | None
    amount: Decimal
    price: Decimal | None
    state: OrderState
    reason: str | None
    filled: Decimal
    average_price: Decimal | None
    cost: Decimal | None
    fees: Mapping[str, str]
    external: bool
    cancel_requested_at: datetime | None
    check_count: int
    created_at: datetime
    updated_at: datetime

    @property
    def ended(self) -> bool:
        return self.state not in NOT_ENDED

    @property
    def settled(self) -> bool:
        """Whether it is known what became of the sending."""
        return self.state not in UNSETTLED

    @property
    def reference(self) -> Reference:
        return Reference(
            self.symbol, self.exchange_order_id or "", self.client_order_id or "", sent_at=self.created_at
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """An order about which nobody else asks for a while, and the database's time when that began."""

    order: Order
    at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """The order of a connector that has waited longest."""

    account_name: str
    connector_name: str
    order_id: UUID
    interrupted: bool
    """Whether any of the connector's has a sender who did not say in time what came of it."""


@dataclass(frozen=True, slots=True)
class Twin:
    """An order of ours that an exchange may have under any id, and that looks like another one."""

    id: UUID
    created_at: datetime
    overdue: bool
    """Whether whatever was to come of it must have come by now."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orders of an account a list is of. An empty text selects all."""

    account_name: str
    connector_name: str = ""
    symbol: str = ""
    open_only: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has been learnt of an order."""

    state: OrderState
    reason: str | None = None
    again_in: timedelta = timedelta(0)
    """When the exchange should be asked about it next, if it still has to be."""
    missed: bool = False
    """The exchange was asked, and did not know it."""
    not_before: datetime | None = None
    """From when on that counts, by the database's clock."""
    exchange_order_id: str | None = None
    filled: Decimal | None = None
    average_price: Decimal | None = None
    cost: Decimal | None = None
    fees: Mapping[str, str] = field(default_factory=dict)

    @property
    def instead_of(self) -> frozenset[OrderState]:
        """Of an order in which states this says more than is known."""
        is_refused = self.state is OrderState.REJECTED and not self.exchange_order_id
        if self.state is OrderState.UNKNOWN or self.missed or is_refused:
            return UNSETTLED
        return NOT_ENDED


def told(order: ExchangeOrder, again_in: timedelta = timedelta(0)) -> Outcome:
    """What an exchange says of an order. Without an id, or in words of which nobody knows what they mean, it says
    little.
    """
    state, reason = order.state, None
    if not order.id or state in UNSETTLED:
        state, reason = OrderState.UNKNOWN, "EXCHANGE_BAD_RESPONSE"
    elif state is OrderState.REJECTED:
        reason = "REJECTED_BY_EXCHANGE"
    return Outcome(
        state,
        reason,
        again_in,
        exchange_order_id=order.id or None,
        filled=_number(order.filled),
        average_price=_number(order.average_price),
        cost=_number(order.cost),
        fees={fee.asset: fee.amount for fee in order.fees},
    )


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None
