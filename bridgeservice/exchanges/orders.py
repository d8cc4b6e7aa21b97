"""Orders as exchanges take them and tell of them. Numbers are decimal strings; empty where the exchange gives none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from bridgeservice.enums import OrderSide, OrderState, OrderType, TimeInForce
from servicekit.errors import KeybridgeError


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order that is to be sent, once. Its numbers are such that the market takes them."""

    symbol: str
    side: OrderSide
    type: OrderType
    amount: str
    price: str = ""
    """The limit; empty for a market order."""
    time_in_force: TimeInForce | None = None
    post_only: bool = False
    reduce_only: bool = False
    client_order_id: str = ""
    """In the form that the exchange takes; empty where it takes none."""
    params: Mapping[str, str] = field(default_factory=dict)
    """What the exchange knows beyond this, by ccxt's names."""


@dataclass(frozen=True, slots=True)
class Fee:
    """What an exchange took; negative for a rebate."""

    asset: str
    amount: str


@dataclass(frozen=True, slots=True)
class ExchangeOrder:
    """An order as its exchange tells it now. Never PENDING; UNKNOWN where the exchange's word for it is."""

    id: str
    symbol: str
    state: OrderState
    client_order_id: str = ""
    side: OrderSide | None = None
    type: OrderType | None = None
    """None for a kind that has no name here."""
    time_in_force: TimeInForce | None = None
    amount: str = ""
    price: str = ""
    filled: str = ""
    average_price: str = ""
    cost: str = ""
    fees: Sequence[Fee] = ()
    time: datetime | None = None
    """When it was made, by the exchange's clock."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An order that is surely not placed: the exchange refused it, or it was never sent."""

    error: KeybridgeError


@dataclass(frozen=True, slots=True)
class Reference:
    """How an order is asked for: by the exchange's id where that is known, else by ours."""

    symbol: str
    id: str = ""
    client_order_id: str = ""
    sent_at: datetime | None = None
    """When it was sent, by our clock. Exchanges forget client order ids in time, so without this none of those that do
    is believed when it knows none.
    """


@dataclass(frozen=True, slots=True)
class ExchangeTrade:
    """One fill as its exchange tells it. Its id is unique within a connector's market."""

    id: str
    order_id: str
    """The exchange's; empty where it does not say."""
    symbol: str
    side: OrderSide
    amount: str
    price: str
    cost: str
    time: datetime
    fees: Sequence[Fee] = ()


class PositionSide(Enum):
    """Which way a position gains."""

    OTHER = ""
    LONG = "long"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Position:
    """An open position in a derivative."""

    symbol: str
    side: PositionSide
    amount: str
    entry_price: str = ""
    mark_price: str = ""
    unrealized_pnl: str = ""
    leverage: str = ""
    liquidation_price: str = ""
    time: datetime | None = None
    """When the exchange says that it last changed."""
