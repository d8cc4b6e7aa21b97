"""KeyService's tables. Nobody but KeyService reads them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Sequence, SmallInteger, false, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from keyservice.enums import BridgeReason, BridgeState, Environment, Permission
from servicekit.database.models import Base, SoftDelete, Timestamps, UuidKey, stored_by_value, utc_now

METADATA = Base.metadata
"""What the start compares the database with."""

key_revisions = Sequence("key_revisions", metadata=Base.metadata, data_type=BigInteger)
"""One for all keys, so that revisions also order two keys that held one connector name, one after the other."""

audit_positions = Sequence("audit_positions", metadata=Base.metadata, data_type=BigInteger)
"""One after the other, so that a position is drawn later than every smaller one."""

LIVE = text("NOT is_deleted")

# Whatever a database calls infinite, no message can hold. Of a NULL this says nothing.
_TIMES_FINITE = "isfinite(created_at) AND isfinite(updated_at) AND isfinite(deleted_at)"


class Client(UuidKey, Timestamps, SoftDelete, Base):
    """The owner of keys."""

    __tablename__ = "clients"

    name: Mapped[str]
    external_id: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_TIMES_FINITE, name="times_finite"),
        Index("uq_clients_external_id_live", "external_id", unique=True, postgresql_where=LIVE),
        Index("ix_clients_created_at_id", "created_at", "id"),
        Index("ix_clients_created_at_id_live", "created_at", "id", postgresql_where=LIVE),
    )


class EncryptionKey(Timestamps, Base):
    """A master key that the database has met: how to recognise it, and the index key, sealed under it."""

    __tablename__ = "encryption_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    check_value: Mapped[str]
    index_key: Mapped[str]
    """The same index key in every row: rotation never changes it, so fingerprints stay what they are."""
    promoted_at: Mapped[datetime | None]
    """When it became the current one; NULL while it only stands by. The latest is current."""


class ExchangeApiKey(UuidKey, Timestamps, SoftDelete, Base):
    """A client's API key on one exchange: its sealed credentials, and what the bridge is known to hold of it."""

    __tablename__ = "exchange_api_keys"

    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id", ondelete="RESTRICT"))
    exchange: Mapped[str]
    label: Mapped[str] = mapped_column(default="", server_default="")
    connector_name: Mapped[str]
    environment: Mapped[Environment] = mapped_column(
        stored_by_value(Environment, "environment"),
        default=Environment.LIVE,
        server_default=Environment.LIVE.value,
    )

    api_key: Mapped[str | None]
    api_secret: Mapped[str | None]
    passphrase: Mapped[str | None]
    extra: Mapped[str | None]
    key_id: Mapped[str | None] = mapped_column(ForeignKey("encryption_keys.key_id", ondelete="RESTRICT"))
    """The master key that sealed the four above; NULL when there is nothing sealed, or an adopted row waits."""
    secret_version: Mapped[int] = mapped_column(BigInteger, default=1, server_default="1")
    """Part of the context that the four are sealed for; moves only when they do."""
    key_hint: Mapped[str] = mapped_column(default="", server_default="")
    fingerprint: Mapped[bytes | None]
    erased_at: Mapped[datetime | None]
    """When the credentials of a deleted key were erased for good."""
    deleted_with_client: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether it was deleted because its client was: then it comes back with the client."""

    disabled: Mapped[bool] = mapped_column(default=False, server_default=false())
    revision: Mapped[int] = mapped_column(BigInteger, server_default=key_revisions.next_value())

    can_read: Mapped[Permission | None] = mapped_column(stored_by_value(Permission, "can_read"))
    can_trade: Mapped[Permission | None] = mapped_column(stored_by_value(Permission, "can_trade"))
    can_withdraw: Mapped[Permission | None] = mapped_column(stored_by_value(Permission, "can_withdraw"))
    verified_at: Mapped[datetime | None]

    bridge_state: Mapped[BridgeState] = mapped_column(
        stored_by_value(BridgeState, "bridge_state"),
        default=BridgeState.PENDING,
        server_default=BridgeState.PENDING.value,
    )
    bridge_reason: Mapped[BridgeReason | None] = mapped_column(stored_by_value(BridgeReason, "bridge_reason"))
    attempt_count: Mapped[int] = mapped_column(default=0, server_default="0")
    last_attempt_at: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime | None]
    configured_at: Mapped[datetime | None]
    configured_instance: Mapped[str | None]
    """The run of the bridge that acknowledged the present revision."""

    __table_args__ = (
        CheckConstraint("revision > 0", name="revision_positive"),
        CheckConstraint("secret_version > 0", name="secret_version_positive"),
        CheckConstraint("attempt_count >= 0", name="attempt_count_not_negative"),
        CheckConstraint(
            "erased_at IS NULL OR (is_deleted AND api_key IS NULL AND api_secret IS NULL AND passphrase IS NULL"
            " AND extra IS NULL AND key_id IS NULL)",
            name="erased_means_erased",
        ),
        CheckConstraint(_TIMES_FINITE, name="times_finite"),
        CheckConstraint("is_deleted OR NOT deleted_with_client", name="deleted_with_client_means_deleted"),
        Index(
            "uq_exchange_api_keys_client_id_exchange_label_live",
            "client_id",
            "exchange",
            "label",
            unique=True,
            postgresql_where=LIVE,
        ),
        # Fixed at creation, so after a rename it no longer says what the label does.
        Index(
            "uq_exchange_api_keys_client_id_connector_name_live",
            "client_id",
            "connector_name",
            unique=True,
            postgresql_where=LIVE,
        ),
        Index(
            "uq_exchange_api_keys_client_id_fingerprint_live",
            "client_id",
            "fingerprint",
            unique=True,
            postgresql_where=LIVE,
        ),
        Index("ix_exchange_api_keys_created_at_id_live", "created_at", "id", postgresql_where=LIVE),
        Index("ix_exchange_api_keys_client_live", "client_id", "created_at", "id", postgresql_where=LIVE),
        Index("ix_exchange_api_keys_exchange_live", "exchange", "created_at", "id", postgresql_where=LIVE),
        Index("ix_exchange_api_keys_state_live", "bridge_state", "created_at", "id", postgresql_where=LIVE),
        Index("ix_exchange_api_keys_created_at_id", "created_at", "id"),
        Index("ix_exchange_api_keys_client", "client_id", "created_at", "id"),
        Index("ix_exchange_api_keys_exchange", "exchange", "created_at", "id"),
        Index("ix_exchange_api_keys_state", "bridge_state", "created_at", "id"),
        # For re-sealing, and for the question whether a master key is still needed.
        Index("ix_exchange_api_keys_key_id", "key_id", "id"),
        Index(
            "ix_exchange_api_keys_to_erase",
            "deleted_at",
            postgresql_where=text("is_deleted AND erased_at IS NULL"),
        ),
        # For convergence: what waits for the bridge, and what a run of the bridge holds.
        Index(
            "ix_exchange_api_keys_due",
            "next_attempt_at",
            postgresql_where=text("bridge_state IN ('pending', 'removing')"),
        ),
        # And what of that says nothing of an attempt yet: all else may be due for as long as nobody can be asked.
        Index(
            "ix_exchange_api_keys_due_afresh",
            "next_attempt_at",
            postgresql_where=text("bridge_state IN ('pending', 'removing') AND bridge_reason IS NULL"),
        ),
        Index(
            "ix_exchange_api_keys_configured_instance",
            "configured_instance",
            postgresql_where=text("bridge_state = 'configured'"),
        ),
    )


class Request(Base):
    """A request id that a caller gave: what it was used for, so that a repetition gets the first result."""

    __tablename__ = "requests"

    principal: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    body_hmac: Mapped[bytes]
    """An HMAC under the index key: bodies hold secrets, which are never hashed plainly."""
    result_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=text("now()"))

    __table_args__ = (Index("ix_requests_created_at", "created_at"),)


# Whoever draws a position has a transaction id by then, which the sealer reckons by: CASE looks at that first. It is
# spelt as PostgreSQL prints it, because alembic compares the two as texts.
_POSITION = text("""
CASE
    WHEN (pg_current_xact_id() IS NOT NULL) THEN nextval('audit_positions'::regclass)
    ELSE NULL::bigint
END""")


class AuditEvent(UuidKey, Base):
    """Who did what to which key. Only ever inserted, in the transaction of what it tells of."""

    __tablename__ = "audit_events"

    position: Mapped[int] = mapped_column(BigInteger, unique=True, server_default=_POSITION)
    """The order of insertion, as nearly as concurrent transactions have one."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    """By the database's clock, so that the events of all replicas are listed in the order of their time."""
    principal: Mapped[str]
    action: Mapped[str]
    client_id: Mapped[UUID | None]
    api_key_id: Mapped[UUID | None]
    request_id: Mapped[str] = mapped_column(default="", server_default="")
    outcome: Mapped[str] = mapped_column(default="OK", server_default="OK")
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default=text("'{}'::jsonb"))

    __table_args__ = (
        Index("ix_audit_events_created_at_id", "created_at", "id"),
        Index("ix_audit_events_client", "client_id", "created_at", "id"),
        Index("ix_audit_events_request_id", "request_id"),
    )


class AuditSeal(Base):
    """A link of the chain that seals the audit record: a batch of events that lie one after the other."""

    __tablename__ = "audit_seals"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1, without a gap."""
    encoding: Mapped[int] = mapped_column(SmallInteger)
    """How the events are written down for the digest, so that later releases can do it otherwise."""
    first_position: Mapped[int] = mapped_column(BigInteger)
    last_position: Mapped[int] = mapped_column(BigInteger)
    event_count: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes]
    """Of all columns of the events, in the order of their positions."""
    previous_mac: Mapped[bytes]
    """That of the seal before; zeros in the first one."""
    mac: Mapped[bytes]
    """Of all the other columns, by a key that only holders of a master key have."""
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint("event_count > 0", name="event_count_positive"),
        CheckConstraint("first_position <= last_position", name="positions_in_order"),
    )
