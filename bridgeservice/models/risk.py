"""The table of risk rules."""

from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Text, UniqueConstraint, false
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from bridgeservice.enums import RiskAction, RiskRuleKind
from bridgeservice.models.accounts import IN_SCHEMA, Account
from servicekit.database.models import Base, Timestamps, UuidKey, stored_by_value


class RiskRule(UuidKey, Timestamps, Base):
    """What an account, or one of its connectors, may do. A kill switch is one of them while it is engaged.

    Whoever changes the rules of an account holds its row alone; whoever journals an order shares it.
    """

    __tablename__ = "risk_rules"

    account_id: Mapped[UUID] = mapped_column(ForeignKey(Account.id, ondelete="RESTRICT"))
    connector_name: Mapped[str] = mapped_column(default="", server_default="")
    """Empty for all connectors of the account together."""
    kind: Mapped[RiskRuleKind] = mapped_column(stored_by_value(RiskRuleKind, "kind"))
    action: Mapped[RiskAction] = mapped_column(stored_by_value(RiskAction, "action"))
    bound: Mapped[Decimal | None]
    """A number of orders, or an amount of ``quote_asset``."""
    quote_asset: Mapped[str | None]
    symbols: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    reason: Mapped[str | None]
    """Why a kill switch was engaged, in the words of whoever did."""
    cancels_open_orders: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (
        UniqueConstraint("account_id", "connector_name", "kind"),
        CheckConstraint("bound >= 0 AND bound < 'Infinity'", name="bound_not_negative"),
        CheckConstraint(
            "(symbols IS NOT NULL) = (kind = 'allowed_symbols')", name="symbols_exactly_with_their_kind"
        ),
        CheckConstraint(
            """(bound IS NOT NULL) = (kind IN ('max_order_notional', 'max_daily_notional', 'max_open_orders',"""
            """ 'max_orders_per_minute'))""",
            name="bound_exactly_with_its_kinds",
        ),
        CheckConstraint(
            "(quote_asset IS NOT NULL) = (kind IN ('max_order_notional', 'max_daily_notional'))",
            name="quote_asset_exactly_with_notionals",
        ),
        IN_SCHEMA,
    )
