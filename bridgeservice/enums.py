"""The words that TradingBridge stores. Their values are in the database: change one only with a migration."""

from enum import StrEnum


class InstrumentKind(StrEnum):
    """What a row of ``instruments`` describes."""

    MARKET = "market"
    CURRENCY = "currency"


class OrderSide(StrEnum):
    """Whether an order buys or sells the base asset."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order finds its price."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long an order waits to be filled."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class OrderState(StrEnum):
    """How far an order has come, as the journal knows it."""

    PENDING = "pending"
    UNKNOWN = "unknown"
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class RiskRuleKind(StrEnum):
    """What a risk rule is about."""

    ALLOWED_SYMBOLS = "allowed_symbols"
    MAX_ORDER_NOTIONAL = "max_order_notional"
    MAX_DAILY_NOTIONAL = "max_daily_notional"
    MAX_OPEN_ORDERS = "max_open_orders"
    MAX_ORDERS_PER_MINUTE = "max_orders_per_minute"
    READ_ONLY = "read_only"
    KILL_SWITCH = "kill_switch"


class RiskAction(StrEnum):
    """What happens to an order that breaks a risk rule."""

    REFUSE = "refuse"
    REFUSE_AND_CANCEL = "refuse_and_cancel"
    WARN = "warn"


class PaperOrderState(StrEnum):
    """How far an order on the paper exchange has come. It is filled as a whole or not at all."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
