"""Who has an account at a simulated exchange: credentials, permissions, holdings, orders and trades."""

import base64
import secrets
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from tests.simulator.markets import Market


class Permission(Enum):
    """What a key may be allowed to do."""

    READ = "read"
    TRADE = "trade"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """What a client of the exchange is given. ``passphrase`` is empty where the exchange has none."""

    exchange: str
    api_key: str
    secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)


def new_keys(exchange: str) -> AccountKeys:
    """Credentials in the form that this exchange gives them."""
    match exchange:
        case "binance":
            return AccountKeys(exchange, secrets.token_hex(32), secrets.token_hex(32))
        case "kraken":
            # Kraken's secret is base64, and clients decode it before they sign.
            private = base64.b64encode(secrets.token_bytes(64)).decode()
            return AccountKeys(exchange, base64.b64encode(secrets.token_bytes(42)).decode(), private)
        case "okx":
            return AccountKeys(
                exchange, str(uuid.uuid4()), secrets.token_hex(16).upper(), secrets.token_hex(8)
            )
        case "kucoin":
            return AccountKeys(exchange, secrets.token_hex(12), str(uuid.uuid4()), secrets.token_hex(8))
        case "gate":
            return AccountKeys(exchange, secrets.token_hex(16), secrets.token_hex(32))
    raise ValueError(f"{exchange} is not simulated")


@dataclass(slots=True)
class Holding:
    """How much of one asset there is."""

    free: Decimal = Decimal(0)
    used: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        return self.free + self.used


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of an order."""

    id: int
    order: "Order"
    price: Decimal
    amount: Decimal
    fee: Decimal
    fee_asset: str
    is_maker: bool
    time_ms: int

    @property
    def cost(self) -> Decimal:
        return self.price * self.amount


class Status(Enum):
    """Where an order is."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"


@dataclass(slots=True, eq=False)
class Order:
    """An order as it was placed, and what became of it.

    ``price`` is None for a market order. ``quote_amount`` is set where a market order named what to spend.
    """

    id: str
    client_id: str
    market: Market
    side: str
    amount: Decimal
    price: Decimal | None
    time_in_force: str
    is_post_only: bool
    quote_amount: Decimal | None
    created_ms: int
    updated_ms: int
    status: Status = Status.OPEN
    trades: list[Trade] = field(default_factory=list)

    @property
    def type(self) -> str:
        return "market" if self.price is None else "limit"

    @property
    def is_buy(self) -> bool:
        return self.side == "buy"

    @property
    def filled(self) -> Decimal:
        return sum((trade.amount for trade in self.trades), Decimal(0))

    @property
    def remaining(self) -> Decimal:
        return self.amount - self.filled

    @property
    def cost(self) -> Decimal:
        return sum((trade.cost for trade in self.trades), Decimal(0))

    @property
    def average(self) -> Decimal:
        return self.cost / self.filled if self.trades else Decimal(0)

    @property
    def fee(self) -> Decimal:
        return sum((trade.fee for trade in self.trades), Decimal(0))


@dataclass(slots=True, eq=False)
class Account:
    """One account and its only key."""

    keys: AccountKeys
    permissions: frozenset[Permission]
    holdings: dict[str, Holding]
    orders: dict[str, Order] = field(default_factory=dict)
    is_revoked: bool = False
    last_nonce: int = 0
    times_shown: int = 0
    """How many calls came with its key, whatever became of them."""

    @property
    def trades(self) -> list[Trade]:
        """All fills, the earliest first."""
        fills = (trade for order in self.orders.values() for trade in order.trades)
        return sorted(fills, key=lambda trade: trade.id)

    def holding(self, asset: str) -> Holding:
        """Of this asset, from now on also when there is none."""
        return self.holdings.setdefault(asset, Holding())

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def find(self, market: Market | None = None, *, order_id: str = "", client_id: str = "") -> Order | None:
        """The order with this id, or else with this client order id; the latest where several had it."""
        if order_id:
            order = self.orders.get(order_id)
            return order if order and market in (None, order.market) else None
        return next((o for o in self.select(market)[::-1] if client_id and o.client_id == client_id), None)

    def select(self, market: Market | None = None, *, is_open: bool | None = None) -> list[Order]:
        """Orders, the earliest first."""
        return [
            order
            for order in self.orders.values()
            if market in (None, order.market) and is_open in (None, order.status is Status.OPEN)
        ]
