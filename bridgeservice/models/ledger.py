"""What is remembered of an account: its trades, its worth over time, and how far its exchanges have been read."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from bridgeservice.enums import OrderSide
from bridgeservice.models.accounts import IN_SCHEMA, Account
from bridgeservice.models.orders import Order
from servicekit.database.models import Base, SoftDelete, Timestamps, UuidKey, stored_by_value


class Trade(UuidKey, Timestamps, SoftDelete, Base):
    """A fill, as its exchange tells it."""

    __tablename__ = "trades"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id, ondelete="RESTRICT"))
    connector_name: Mapped[str]
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey(Order.id, ondelete="RESTRICT"))
    """NULL when the order is from before the connector was first used, and is in no journal."""
    exchange_trade_id: Mapped[str]
    exchange_order_id: Mapped[str | None]
    symbol: Mapped[str]
    side: Mapped[OrderSide] = mapped_column(stored_by_value(OrderSide, "side"))
    amount: Mapped[Decimal]
    price: Mapped[Decimal]
    cost: Mapped[Decimal]
    fees: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    """Amounts, as decimal strings, by asset."""
    traded_at: Mapped[datetime]
    """By the exchange's clock."""

    __table_args__ = (
        # An exchange may count its trades anew for each market.
        UniqueConstraint("account_id", "connector_name", "symbol", "exchange_trade_id"),
        CheckConstraint("amount > 0 AND amount < 'Infinity'", name="amount_positive"),
        CheckConstraint("price >= 0 AND price < 'Infinity'", name="price_not_negative"),
        Index("ix_trades_account", "account_id", "traded_at", "id", postgresql_where=text("NOT is_deleted")),
        Index(
            "ix_trades_connector",
            "account_id",
            "connector_name",
            "traded_at",
            "id",
            postgresql_where=text("NOT is_deleted"),
        ),
        Index(
            "ix_trades_symbol",
            "account_id",
            "symbol",
            "traded_at",
            "id",
            postgresql_where=text("NOT is_deleted"),
        ),
        Index("ix_trades_order", "order_id"),
        # Those of which it is not known, or not yet, whose they are.
        Index(
            "ix_trades_ownerless",
            "account_id",
            "connector_name",
            "symbol",
            "exchange_order_id",
            postgresql_where=text("order_id IS NULL"),
        ),
        # For retention.
        Index("ix_trades_age", "is_deleted", "traded_at"),
        IN_SCHEMA,
    )


class Reconciliation(Timestamps, Base):
    """How far a connector's exchange has been compared with the journal. Whoever works on it has it until a time."""

    __tablename__ = "reconciliations"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id, ondelete="RESTRICT"), primary_key=True)
    connector_name: Mapped[str] = mapped_column(primary_key=True)
    claimed_until: Mapped[datetime | None]
    reconciled_at: Mapped[datetime | None]
    """When the exchange was last read as a whole."""
    backfilled_at: Mapped[datetime | None]
    """When the history before the connector's first use had been read; NULL while it has not."""
    cursors: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    """Up to which time trades have been read, by market, or under the empty name for all markets."""

    __table_args__ = (IN_SCHEMA,)


class PortfolioSnapshot(Base):
    """What one connector held in one span of time. A reading that failed makes no row."""

    __tablename__ = "portfolio_snapshots"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id, ondelete="RESTRICT"), primary_key=True)
    connector_name: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[datetime] = mapped_column(primary_key=True)
    """The beginning of the span."""
    taken_at: Mapped[datetime]
    quote_asset: Mapped[str]
    value: Mapped[Decimal | None]
    """NULL when nothing could be priced."""
    balances: Mapped[dict[str, Any]]
    """By asset: free, used, total and value, as decimal strings; one that is not known is left out."""
    complete: Mapped[bool]
    """Whether every asset had a price."""

    __table_args__ = (
        Index("ix_portfolio_snapshots_bucket", "account_id", "bucket"),
        # For retention.
        Index("ix_portfolio_snapshots_age", "bucket"),
        IN_SCHEMA,
    )
