"""What every table has in common: the base with its naming convention, and the columns that recur."""

import enum
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, DateTime, Enum, MetaData, Numeric, Text, Uuid, false, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
"""Every constraint has a name that is known beforehand: errors are told apart by it, and migrations alter
it."""

_ENUM_LENGTH = 64
_FIRST, _LAST = -100, 100


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The base of all tables of both services."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[
        dict[Any, Any]
    ] = {  # keys may be types or generic aliases, as SQLAlchemy has it
        datetime: DateTime(timezone=True),
        Decimal: Numeric,
        dict[str, Any]: JSONB,
        str: Text,
        uuid.UUID: Uuid,
    }


class UuidKey:
    """A key that anyone can make without asking anyone: ours, or the database's for a plain SQL INSERT."""

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, default=uuid.uuid4, server_default=func.gen_random_uuid(), sort_order=_FIRST
    )


class Timestamps:
    """When the row was made and last changed, by the database's clock, whichever process wrote it.

    Both defaults, so that no INSERT by anyone leaves a NULL. A change has the time of its statement, since
    its transaction may have begun before another one's change that it waited for.
    """

    created_at: Mapped[datetime] = mapped_column(
        default=func.now(), server_default=func.now(), sort_order=_LAST
    )
    updated_at: Mapped[datetime] = mapped_column(
        default=func.now(),
        server_default=func.now(),
        onupdate=func.statement_timestamp(),
        sort_order=_LAST + 1,
    )


class SoftDelete:
    """Deleted rows stay, out of sight, until they are restored or erased."""

    is_deleted: Mapped[bool] = mapped_column(
        # On the column, not in __table_args__, which a model's own would replace without a word.
        CheckConstraint("is_deleted = (deleted_at IS NOT NULL)", name="is_deleted_exactly_when_deleted_at"),
        default=False,
        server_default=false(),
        sort_order=_LAST + 2,
    )
    deleted_at: Mapped[datetime | None] = mapped_column(sort_order=_LAST + 3)


def stored_by_value(values: type[enum.Enum], name: str) -> Enum:
    """A column type that stores the **values** of an enum, as text with a CHECK called ``ck_<table>_<name>``.

    The length is fixed, so that a longer value needs a new CHECK only, and not a change of the column's type.
    """
    return Enum(
        values,
        name=name,
        values_callable=lambda members: [str(member.value) for member in members],
        native_enum=False,
        create_constraint=True,
        validate_strings=True,
        length=_ENUM_LENGTH,
    )
