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


class PaperOrderState(StrEnum):
    """How far an order on the paper exchange has come. It is filled as a whole or not at all."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
