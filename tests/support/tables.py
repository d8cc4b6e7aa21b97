"""Two tables that use everything which ``servicekit.database.models`` offers, on a metadata of their own."""

import enum
import uuid
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    Sequence,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servicekit.database.models import (
    NAMING_CONVENTION,
    Base,
    SoftDelete,
    Timestamps,
    UuidKey,
    stored_by_value,
)


class Colour(enum.Enum):
    RED = "red"
    DEEP_BLUE = "deep-blue"


class Sample(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = Base.type_annotation_map


revisions = Sequence("sample_revisions", metadata=Sample.metadata)


class Owner(UuidKey, Timestamps, Sample):
    __tablename__ = "owners"

    name: Mapped[str]


class Thing(UuidKey, SoftDelete, Timestamps, Sample):
    __tablename__ = "things"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        UniqueConstraint("owner_id", "label"),
        Index("uq_things_secret_live", "secret", unique=True, postgresql_where=text("NOT is_deleted")),
        Index(None, "owner_id", "created_at"),
    )

    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("owners.id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(server_default="")
    secret: Mapped[str | None]
    amount: Mapped[Decimal] = mapped_column(server_default="1")
    colour: Mapped[Colour] = mapped_column(
        stored_by_value(Colour, "colour_known"), server_default=Colour.RED.value
    )
    facts: Mapped[dict[str, Any] | None]
    revision: Mapped[int] = mapped_column(BigInteger, server_default=revisions.next_value())


class Elsewhere(UuidKey, Sample):
    __tablename__ = "elsewhere"
    __table_args__ = ({"schema": "bridge"},)
