"""The journal: an order's row is committed before the order is sent, and is where its outcome goes."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from bridgeservice.enums import OrderSide, OrderState, OrderType, TimeInForce
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.models.accounts import IN_SCHEMA, Account
from servicekit.database.models import Base, SoftDelete, Timestamps, UuidKey, stored_by_value

_UNSETTLED = "state IN ('pending', 'unknown')"
_LIVE = "NOT is_deleted"


class Order(UuidKey, Timestamps, SoftDelete, Base):
    """An order, ours or found at the exchange. Its id is ours, and ``client_order_id`` is made from it."""

    __tablename__ = "orders"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id, ondelete="RESTRICT"))
    connector_name: Mapped[str]
    exchange: Mapped[str]
    environment: Mapped[Environment] = mapped_column(stored_by_value(Environment, "environment"))
    request_id: Mapped[UUID | None]
    body_hash: Mapped[bytes | None]
    """Of what was asked for under the request id: another body under it is refused."""
    exchange_order_id: Mapped[str | None]
    client_order_id: Mapped[str | None]
    """NULL where the exchange takes none."""
    symbol: Mapped[str]
    side: Mapped[OrderSide] = mapped_column(stored_by_value(OrderSide, "side"))
    type: Mapped[OrderType | None] = mapped_column(stored_by_value(OrderType, "type"))
    """NULL for a kind of order, made elsewhere, that has no name here."""
    time_in_force: Mapped[TimeInForce | None] = mapped_column(stored_by_value(TimeInForce, "time_in_force"))
    post_only: Mapped[bool] = mapped_column(default=False, server_default=false())
    reduce_only: Mapped[bool] = mapped_column(default=False, server_default=false())
    params: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    amount: Mapped[Decimal]
    price: Mapped[Decimal | None]
    """The limit."""
    notionals: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    """What it was worth when it was placed, as decimal strings, by the assets in which risk rules count."""
    state: Mapped[OrderState] = mapped_column(
        stored_by_value(OrderState, "state"),
        default=OrderState.PENDING,
        server_default=OrderState.PENDING.value,
    )
    reason: Mapped[str | None]
    """Why it is rejected or unknown, or what is known beyond the state."""
    filled: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default="0")
    average_price: Mapped[Decimal | None]
    cost: Mapped[Decimal | None]
    fees: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    """Amounts, as decimal strings, by asset."""
    external: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Made elsewhere, and found by reconciliation."""
    cancel_requested_at: Mapped[datetime | None]
    """When somebody wanted it gone; it may still be filled before the exchange hears of it."""
    check_count: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often the exchange was asked what became of it, and did not know it."""
    next_check_at: Mapped[datetime | None]
    """When somebody should ask the exchange next. Whoever sends it or asks has it until then: a claim is a time."""

    __table_args__ = (
        UniqueConstraint("account_id", "request_id"),
        # An exchange may count its orders anew for each market.
        UniqueConstraint("account_id", "connector_name", "symbol", "exchange_order_id"),
        CheckConstraint("amount > 0 AND amount < 'Infinity'", name="amount_positive"),
        CheckConstraint("price > 0 AND price < 'Infinity'", name="price_positive"),
        CheckConstraint("filled >= 0 AND filled < 'Infinity'", name="filled_not_negative"),
        CheckConstraint(
            "(request_id IS NULL) = (body_hash IS NULL)", name="body_hash_exactly_with_request_id"
        ),
        CheckConstraint(
            "NOT external OR exchange_order_id IS NOT NULL", name="external_has_exchange_order_id"
        ),
        CheckConstraint(f"NOT ({_UNSETTLED}) OR next_check_at IS NOT NULL", name="unsettled_is_checked"),
        Index("ix_orders_account", "account_id", "created_at", "id", postgresql_where=text(_LIVE)),
        Index(
            "ix_orders_connector",
            "account_id",
            "connector_name",
            "created_at",
            "id",
            postgresql_where=text(_LIVE),
        ),
        Index("ix_orders_symbol", "account_id", "symbol", "created_at", "id", postgresql_where=text(_LIVE)),
        Index(
            "ix_orders_open",
            "account_id",
            "created_at",
            "id",
            postgresql_where=text("state IN ('pending', 'unknown', 'open')"),
        ),
        # For retention.
        Index("ix_orders_age", "is_deleted", "created_at"),
        Index("ix_orders_due", "next_check_at", postgresql_where=text("next_check_at IS NOT NULL")),
        IN_SCHEMA,
    )
