"""The key service's tables: clients, keys, master keys' marks, request ids and the audit record.

The SQL is written out, so that it stays what it was when the models move on. A database that has a table
``exchange_api_keys`` of an old web backend's is taken over: its rows move into the new tables, which are then
the same as in a fresh database.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from migrations import takeover

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

CLIENTS = """
CREATE TABLE clients (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    external_id text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    is_deleted boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT pk_clients PRIMARY KEY (id),
    CONSTRAINT ck_clients_times_finite
        CHECK (isfinite(created_at) AND isfinite(updated_at) AND isfinite(deleted_at)),
    CONSTRAINT ck_clients_is_deleted_exactly_when_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL))
)
"""

ENCRYPTION_KEYS = """
CREATE TABLE encryption_keys (
    key_id text NOT NULL,
    check_value text NOT NULL,
    index_key text NOT NULL,
    promoted_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_encryption_keys PRIMARY KEY (key_id)
)
"""

EXCHANGE_API_KEYS = """
CREATE TABLE exchange_api_keys (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    client_id uuid NOT NULL,
    exchange text NOT NULL,
    label text DEFAULT '' NOT NULL,
    connector_name text NOT NULL,
    environment varchar(64) DEFAULT 'live' NOT NULL,
    api_key text,
    api_secret text,
    passphrase text,
    extra text,
    key_id text,
    secret_version bigint DEFAULT '1' NOT NULL,
    key_hint text DEFAULT '' NOT NULL,
    fingerprint bytea,
    erased_at timestamptz,
    deleted_with_client boolean DEFAULT false NOT NULL,
    disabled boolean DEFAULT false NOT NULL,
    revision bigint DEFAULT nextval('key_revisions') NOT NULL,
    can_read varchar(64),
    can_trade varchar(64),
    can_withdraw varchar(64),
    verified_at timestamptz,
    bridge_state varchar(64) DEFAULT 'pending' NOT NULL,
    bridge_reason varchar(64),
    attempt_count integer DEFAULT 0 NOT NULL,
    last_attempt_at timestamptz,
    next_attempt_at timestamptz,
    configured_at timestamptz,
    configured_instance text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    is_deleted boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT pk_exchange_api_keys PRIMARY KEY (id),
    CONSTRAINT fk_exchange_api_keys_client_id_clients
        FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE RESTRICT,
    CONSTRAINT fk_exchange_api_keys_key_id_encryption_keys
        FOREIGN KEY (key_id) REFERENCES encryption_keys (key_id) ON DELETE RESTRICT,
    CONSTRAINT ck_exchange_api_keys_environment CHECK (environment IN ('live', 'sandbox')),
    CONSTRAINT ck_exchange_api_keys_can_read CHECK (can_read IN ('yes', 'no', 'unknown')),
    CONSTRAINT ck_exchange_api_keys_can_trade CHECK (can_trade IN ('yes', 'no', 'unknown')),
    CONSTRAINT ck_exchange_api_keys_can_withdraw CHECK (can_withdraw IN ('yes', 'no', 'unknown')),
    CONSTRAINT ck_exchange_api_keys_bridge_state
        CHECK (bridge_state IN ('pending', 'configured', 'failed', 'removing', 'removed')),
    CONSTRAINT ck_exchange_api_keys_bridge_reason
        CHECK (bridge_reason IN ('bridge_timeout', 'bridge_unavailable', 'credentials_rejected',
                                 'credentials_incomplete', 'exchange_unsupported', 'exchange_unavailable',
                                 'rate_limited', 'key_unreadable', 'bridge_error')),
    CONSTRAINT ck_exchange_api_keys_revision_positive CHECK (revision > 0),
    CONSTRAINT ck_exchange_api_keys_secret_version_positive CHECK (secret_version > 0),
    CONSTRAINT ck_exchange_api_keys_attempt_count_not_negative CHECK (attempt_count >= 0),
    CONSTRAINT ck_exchange_api_keys_erased_means_erased
        CHECK (erased_at IS NULL OR (is_deleted AND api_key IS NULL AND api_secret IS NULL
                                     AND passphrase IS NULL AND extra IS NULL AND key_id IS NULL)),
    CONSTRAINT ck_exchange_api_keys_deleted_with_client_means_deleted
        CHECK (is_deleted OR NOT deleted_with_client),
    CONSTRAINT ck_exchange_api_keys_times_finite
        CHECK (isfinite(created_at) AND isfinite(updated_at) AND isfinite(deleted_at)),
    CONSTRAINT ck_exchange_api_keys_is_deleted_exactly_when_deleted_at
        CHECK (is_deleted = (deleted_at IS NOT NULL))
)
"""

REQUESTS = """
CREATE TABLE requests (
    principal text NOT NULL,
    method text NOT NULL,
    request_id uuid NOT NULL,
    body_hmac bytea NOT NULL,
    result_id uuid NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_requests PRIMARY KEY (principal, method, request_id)
)
"""

AUDIT_EVENTS = """
CREATE TABLE audit_events (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz DEFAULT now() NOT NULL,
    principal text NOT NULL,
    action text NOT NULL,
    client_id uuid,
    api_key_id uuid,
    request_id text DEFAULT '' NOT NULL,
    outcome text DEFAULT 'OK' NOT NULL,
    details jsonb DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_audit_events PRIMARY KEY (id),
    CONSTRAINT uq_audit_events_position UNIQUE (position)
)
"""

INDEXES = """
CREATE UNIQUE INDEX uq_clients_external_id_live ON clients (external_id) WHERE NOT is_deleted;
CREATE INDEX ix_clients_created_at_id ON clients (created_at, id);
CREATE INDEX ix_clients_created_at_id_live ON clients (created_at, id) WHERE NOT is_deleted;

CREATE UNIQUE INDEX uq_exchange_api_keys_client_id_exchange_label_live
    ON exchange_api_keys (client_id, exchange, label) WHERE NOT is_deleted;
CREATE UNIQUE INDEX uq_exchange_api_keys_client_id_connector_name_live
    ON exchange_api_keys (client_id, connector_name) WHERE NOT is_deleted;
CREATE UNIQUE INDEX uq_exchange_api_keys_client_id_fingerprint_live
    ON exchange_api_keys (client_id, fingerprint) WHERE NOT is_deleted;
CREATE INDEX ix_exchange_api_keys_created_at_id_live
    ON exchange_api_keys (created_at, id) WHERE NOT is_deleted;
CREATE INDEX ix_exchange_api_keys_client_live
    ON exchange_api_keys (client_id, created_at, id) WHERE NOT is_deleted;
CREATE INDEX ix_exchange_api_keys_exchange_live
    ON exchange_api_keys (exchange, created_at, id) WHERE NOT is_deleted;
CREATE INDEX ix_exchange_api_keys_state_live
    ON exchange_api_keys (bridge_state, created_at, id) WHERE NOT is_deleted;
CREATE INDEX ix_exchange_api_keys_created_at_id ON exchange_api_keys (created_at, id);
CREATE INDEX ix_exchange_api_keys_client ON exchange_api_keys (client_id, created_at, id);
CREATE INDEX ix_exchange_api_keys_exchange ON exchange_api_keys (exchange, created_at, id);
CREATE INDEX ix_exchange_api_keys_state ON exchange_api_keys (bridge_state, created_at, id);
CREATE INDEX ix_exchange_api_keys_key_id ON exchange_api_keys (key_id, id);
CREATE INDEX ix_exchange_api_keys_to_erase
    ON exchange_api_keys (deleted_at) WHERE is_deleted AND erased_at IS NULL;
CREATE INDEX ix_exchange_api_keys_due
    ON exchange_api_keys (next_attempt_at) WHERE bridge_state IN ('pending', 'removing');
CREATE INDEX ix_exchange_api_keys_configured_instance
    ON exchange_api_keys (configured_instance) WHERE bridge_state = 'configured';

CREATE INDEX ix_requests_created_at ON requests (created_at);

CREATE INDEX ix_audit_events_created_at_id ON audit_events (created_at, id);
CREATE INDEX ix_audit_events_client ON audit_events (client_id, created_at, id);
CREATE INDEX ix_audit_events_request_id ON audit_events (request_id);
"""


def upgrade() -> None:
    connection = op.get_bind()
    old = takeover.find_old_tables(connection)
    if old is None:
        create_tables()
        return
    takeover.set_aside(connection, old)
    create_tables()
    takeover.fill(connection, old)
    takeover.put_away(connection, old)


def downgrade() -> None:
    refuse_to_lose_rows(op.get_bind())
    for table in ("exchange_api_keys", "clients", "encryption_keys", "requests", "audit_events"):
        op.drop_table(table)
    op.execute("DROP SEQUENCE key_revisions")


def create_tables() -> None:
    op.execute("CREATE SEQUENCE key_revisions AS bigint")
    for table in (CLIENTS, ENCRYPTION_KEYS, EXCHANGE_API_KEYS, REQUESTS, AUDIT_EVENTS):
        op.execute(table)
    for index in filter(str.strip, INDEXES.split(";")):
        op.execute(index)


def refuse_to_lose_rows(connection: sa.Connection) -> None:
    """What is in these tables is nowhere else: going back is for databases that were never used."""
    for table, rows in (
        ("exchange_api_keys", "keys"),
        ("clients", "clients"),
        ("audit_events", "the audit record"),
    ):
        if connection.scalar(sa.select(sa.exists(sa.select(1).select_from(sa.table(table))))):
            raise CommandError(
                f"{table} holds {rows}, which this downgrade would destroy; nothing was changed"
            )
