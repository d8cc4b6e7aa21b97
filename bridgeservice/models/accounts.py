"""The tables of accounts, which all but instruments hangs on, and of what exchanges trade."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from bridgeservice.enums import InstrumentKind
from bridgeservice.exchanges.exchange import Environment
from servicekit.database.models import Base, Timestamps, UuidKey, stored_by_value, utc_now

SCHEMA: Final = "bridge"
IN_SCHEMA: Final = {"schema": SCHEMA}


class Account(UuidKey, Timestamps, Base):
    """An account by its name, under which everything hangs that is kept of it."""

    __tablename__ = "accounts"

    account_name: Mapped[str] = mapped_column(unique=True)

    __table_args__ = (CheckConstraint("account_name <> ''", name="account_name_not_empty"), IN_SCHEMA)


class Instrument(Base):
    """A market or a currency as its exchange describes it. Renewed as a whole; nothing refers to a row."""

    __tablename__ = "instruments"

    exchange: Mapped[str] = mapped_column(primary_key=True)
    environment: Mapped[Environment] = mapped_column(
        stored_by_value(Environment, "environment"), primary_key=True
    )
    kind: Mapped[InstrumentKind] = mapped_column(stored_by_value(InstrumentKind, "kind"), primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    """A market's symbol, a currency's code."""
    payload: Mapped[dict[str, Any]]
    loaded_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=text("now()"))

    __table_args__ = (IN_SCHEMA,)
