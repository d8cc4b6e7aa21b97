"""TradingBridge's tables, in the schema ``bridge``. Nobody but TradingBridge reads them."""

from bridgeservice.models.accounts import SCHEMA, Account, Instrument
from bridgeservice.models.ledger import PortfolioSnapshot, Reconciliation, Trade
from bridgeservice.models.orders import Order
from bridgeservice.models.paper import PaperAccount, PaperBalance, PaperFill, PaperOrder
from bridgeservice.models.risk import RiskRule
from servicekit.database.models import Base

METADATA = Base.metadata
"""What the start compares the database with."""

__all__ = [
    "METADATA",
    "SCHEMA",
    "Account",
    "Instrument",
    "Order",
    "PaperAccount",
    "PaperBalance",
    "PaperFill",
    "PaperOrder",
    "PortfolioSnapshot",
    "Reconciliation",
    "RiskRule",
    "Trade",
]
