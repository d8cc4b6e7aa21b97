"""TradingBridge's tables, in the schema ``bridge``. Nobody but TradingBridge reads them."""

from servicekit.database.models import Base

METADATA = Base.metadata
"""What the start compares the database with."""
