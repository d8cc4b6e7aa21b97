"""The tables of the paper exchange."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from bridgeservice.enums import OrderSide, OrderType, PaperOrderState
from bridgeservice.models.accounts import IN_SCHEMA, Account
from servicekit.database.models import Base, Timestamps, UuidKey, stored_by_value, utc_now


class PaperAccount(UuidKey, Timestamps, Base):
    """A connector's account on the paper exchange. Whoever inserts it gives it what it starts with.

    Whoever changes anything of it holds a lock on this row.
    """

    __tablename__ = "paper_accounts"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id, ondelete="RESTRICT"))
    connector_name: Mapped[str]

    __table_args__ = (UniqueConstraint("account_id", "connector_name"), IN_SCHEMA)


class PaperBalance(Timestamps, Base):
    """What a paper account has of one asset."""

    __tablename__ = "paper_balances"

    paper_account_id: Mapped[UUID] = mapped_column(
        ForeignKey(PaperAccount.id, ondelete="RESTRICT"), primary_key=True
    )
    asset: Mapped[str] = mapped_column(primary_key=True)
    free: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default="0")
    used: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default="0")
    """Reserved for open orders."""

    __table_args__ = (
        # Bounded above too: to PostgreSQL, NaN is greater than every number.
        CheckConstraint("free >= 0 AND free < 'Infinity'", name="free_not_negative"),
        CheckConstraint("used >= 0 AND used < 'Infinity'", name="used_not_negative"),
        IN_SCHEMA,
    )


class PaperOrder(UuidKey, Timestamps, Base):
    """An order on the paper exchange."""

    __tablename__ = "paper_orders"

    paper_account_id: Mapped[UUID] = mapped_column(ForeignKey(PaperAccount.id, ondelete="RESTRICT"))
    client_order_id: Mapped[str | None]
    symbol: Mapped[str]
    side: Mapped[OrderSide] = mapped_column(stored_by_value(OrderSide, "side"))
    type: Mapped[OrderType] = mapped_column(stored_by_value(OrderType, "type"))
    state: Mapped[PaperOrderState] = mapped_column(
        stored_by_value(PaperOrderState, "state"),
        default=PaperOrderState.OPEN,
        server_default=PaperOrderState.OPEN.value,
    )
    amount: Mapped[Decimal]
    price: Mapped[Decimal | None]
    """The limit; NULL for a market order."""
    fee_rate: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default="0")
    """What was agreed when it was placed, and reserved with it."""

    __table_args__ = (
        UniqueConstraint("paper_account_id", "client_order_id"),
        CheckConstraint("amount > 0 AND amount < 'Infinity'", name="amount_positive"),
        CheckConstraint("price > 0 AND price < 'Infinity'", name="price_positive"),
        CheckConstraint("(price IS NOT NULL) = (type = 'limit')", name="price_exactly_with_limit"),
        CheckConstraint("type = 'limit' OR state <> 'open'", name="only_limits_are_open"),
        CheckConstraint("fee_rate >= 0 AND fee_rate < 1", name="fee_rate_is_a_share"),
        Index(
            "ix_paper_orders_open",
            "paper_account_id",
            "created_at",
            "id",
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_paper_orders_account", "paper_account_id", "created_at", "id"),
        IN_SCHEMA,
    )


class PaperFill(UuidKey, Base):
    """What came of an order: amount against cost, and the fee, which is paid in the quote asset."""

    __tablename__ = "paper_fills"

    paper_order_id: Mapped[UUID] = mapped_column(ForeignKey(PaperOrder.id, ondelete="RESTRICT"), unique=True)
    """Unique, because an order is filled as a whole."""
    amount: Mapped[Decimal]
    price: Mapped[Decimal]
    cost: Mapped[Decimal]
    fee_asset: Mapped[str]
    fee: Mapped[Decimal]
    filled_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=text("now()"))
    """When the price was reached, which may be long before anyone looked."""

    __table_args__ = (
        CheckConstraint("amount > 0 AND amount < 'Infinity'", name="amount_positive"),
        CheckConstraint("price > 0 AND price < 'Infinity'", name="price_positive"),
        CheckConstraint("cost = amount * price", name="cost_exact"),
        CheckConstraint("fee >= 0 AND fee < 'Infinity'", name="fee_not_negative"),
        IN_SCHEMA,
    )
