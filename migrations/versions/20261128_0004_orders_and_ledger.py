"""The journal of orders and what is remembered of an account: trades, worth over time, risk rules."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ORDERS = """
CREATE TABLE bridge.orders (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    account_id uuid NOT NULL,
    connector_name text NOT NULL,
    exchange text NOT NULL,
    environment varchar(64) NOT NULL,
    request_id uuid,
    body_hash bytea,
    exchange_order_id text,
    client_order_id text,
    symbol text NOT NULL,
    side varchar(64) NOT NULL,
    type varchar(64),
    time_in_force varchar(64),
    post_only boolean DEFAULT false NOT NULL,
    reduce_only boolean DEFAULT false NOT NULL,
    params jsonb DEFAULT '{}'::jsonb NOT NULL,
    amount numeric NOT NULL,
    price numeric,
    notionals jsonb DEFAULT '{}'::jsonb NOT NULL,
    state varchar(64) DEFAULT 'pending' NOT NULL,
    reason text,
    filled numeric DEFAULT '0' NOT NULL,
    average_price numeric,
    cost numeric,
    fees jsonb DEFAULT '{}'::jsonb NOT NULL,
    external boolean DEFAULT false NOT NULL,
    cancel_requested_at timestamptz,
    check_count integer DEFAULT '0' NOT NULL,
    next_check_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    is_deleted boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT pk_orders PRIMARY KEY (id),
    CONSTRAINT uq_orders_account_id_request_id UNIQUE (account_id, request_id),
    CONSTRAINT uq_orders_account_id_connector_name_symbol_exchange_order_id
        UNIQUE (account_id, connector_name, symbol, exchange_order_id),
    CONSTRAINT ck_orders_amount_positive CHECK (amount > 0 AND amount < 'Infinity'),
    CONSTRAINT ck_orders_price_positive CHECK (price > 0 AND price < 'Infinity'),
    CONSTRAINT ck_orders_filled_not_negative CHECK (filled >= 0 AND filled < 'Infinity'),
    CONSTRAINT ck_orders_body_hash_exactly_with_request_id
        CHECK ((request_id IS NULL) = (body_hash IS NULL)),
    CONSTRAINT ck_orders_external_has_exchange_order_id
        CHECK (NOT external OR exchange_order_id IS NOT NULL),
    CONSTRAINT ck_orders_unsettled_is_checked
        CHECK (NOT (state IN ('pending', 'unknown')) OR next_check_at IS NOT NULL),
    CONSTRAINT fk_orders_account_id_accounts
        FOREIGN KEY (account_id) REFERENCES bridge.accounts (id) ON DELETE RESTRICT,
    CONSTRAINT ck_orders_environment CHECK (environment IN ('LIVE', 'SANDBOX')),
    CONSTRAINT ck_orders_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT ck_orders_type CHECK (type IN ('market', 'limit')),
    CONSTRAINT ck_orders_time_in_force CHECK (time_in_force IN ('gtc', 'ioc', 'fok')),
    CONSTRAINT ck_orders_state
        CHECK (state IN ('pending', 'unknown', 'open', 'filled', 'canceled', 'rejected', 'expired')),
    CONSTRAINT ck_orders_is_deleted_exactly_when_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL))
)
"""

TRADES = """
CREATE TABLE bridge.trades (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    account_id uuid NOT NULL,
    connector_name text NOT NULL,
    order_id uuid,
    exchange_trade_id text NOT NULL,
    exchange_order_id text,
    symbol text NOT NULL,
    side varchar(64) NOT NULL,
    amount numeric NOT NULL,
    price numeric NOT NULL,
    cost numeric NOT NULL,
    fees jsonb DEFAULT '{}'::jsonb NOT NULL,
    traded_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    is_deleted boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT pk_trades PRIMARY KEY (id),
    CONSTRAINT uq_trades_account_id_connector_name_symbol_exchange_trade_id
        UNIQUE (account_id, connector_name, symbol, exchange_trade_id),
    CONSTRAINT ck_trades_amount_positive CHECK (amount > 0 AND amount < 'Infinity'),
    CONSTRAINT ck_trades_price_not_negative CHECK (price >= 0 AND price < 'Infinity'),
    CONSTRAINT fk_trades_account_id_accounts
        FOREIGN KEY (account_id) REFERENCES bridge.accounts (id) ON DELETE RESTRICT,
    CONSTRAINT fk_trades_order_id_orders
        FOREIGN KEY (order_id) REFERENCES bridge.orders (id) ON DELETE RESTRICT,
    CONSTRAINT ck_trades_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT ck_trades_is_deleted_exactly_when_deleted_at CHECK (is_deleted = (deleted_at IS NOT NULL))
)
"""

RECONCILIATIONS = """
CREATE TABLE bridge.reconciliations (
    account_id uuid NOT NULL,
    connector_name text NOT NULL,
    claimed_until timestamptz,
    reconciled_at timestamptz,
    backfilled_at timestamptz,
    cursors jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_reconciliations PRIMARY KEY (account_id, connector_name),
    CONSTRAINT fk_reconciliations_account_id_accounts
        FOREIGN KEY (account_id) REFERENCES bridge.accounts (id) ON DELETE RESTRICT
)
"""

PORTFOLIO_SNAPSHOTS = """
CREATE TABLE bridge.portfolio_snapshots (
    account_id uuid NOT NULL,
    connector_name text NOT NULL,
    bucket timestamptz NOT NULL,
    taken_at timestamptz NOT NULL,
    quote_asset text NOT NULL,
    value numeric,
    balances jsonb NOT NULL,
    complete boolean NOT NULL,
    CONSTRAINT pk_portfolio_snapshots PRIMARY KEY (account_id, connector_name, bucket),
    CONSTRAINT fk_portfolio_snapshots_account_id_accounts
        FOREIGN KEY (account_id) REFERENCES bridge.accounts (id) ON DELETE RESTRICT
)
"""

RISK_RULES = """
CREATE TABLE bridge.risk_rules (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    account_id uuid NOT NULL,
    connector_name text DEFAULT '' NOT NULL,
    kind varchar(64) NOT NULL,
    action varchar(64) NOT NULL,
    bound numeric,
    quote_asset text,
    symbols text[],
    reason text,
    cancels_open_orders boolean DEFAULT false NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_risk_rules PRIMARY KEY (id),
    CONSTRAINT uq_risk_rules_account_id_connector_name_kind UNIQUE (account_id, connector_name, kind),
    CONSTRAINT ck_risk_rules_bound_not_negative CHECK (bound >= 0 AND bound < 'Infinity'),
    CONSTRAINT ck_risk_rules_symbols_exactly_with_their_kind
        CHECK ((symbols IS NOT NULL) = (kind = 'allowed_symbols')),
    CONSTRAINT ck_risk_rules_bound_exactly_with_its_kinds
        CHECK ((bound IS NOT NULL) = (kind IN ('max_order_notional', 'max_daily_notional',
            'max_open_orders', 'max_orders_per_minute'))),
    CONSTRAINT ck_risk_rules_quote_asset_exactly_with_notionals
        CHECK ((quote_asset IS NOT NULL) = (kind IN ('max_order_notional', 'max_daily_notional'))),
    CONSTRAINT fk_risk_rules_account_id_accounts
        FOREIGN KEY (account_id) REFERENCES bridge.accounts (id) ON DELETE RESTRICT,
    CONSTRAINT ck_risk_rules_kind
        CHECK (kind IN ('allowed_symbols', 'max_order_notional', 'max_daily_notional',
            'max_open_orders', 'max_orders_per_minute', 'read_only', 'kill_switch')),
    CONSTRAINT ck_risk_rules_action CHECK (action IN ('refuse', 'refuse_and_cancel', 'warn'))
)
"""

INDEXES = (
    "CREATE INDEX ix_orders_account ON bridge.orders (account_id, created_at, id) WHERE NOT is_deleted",
    """
    CREATE INDEX ix_orders_connector ON bridge.orders (account_id, connector_name, created_at, id)
        WHERE NOT is_deleted
    """,
    "CREATE INDEX ix_orders_due ON bridge.orders (next_check_at) WHERE next_check_at IS NOT NULL",
    """
    CREATE INDEX ix_orders_open ON bridge.orders (account_id, created_at, id)
        WHERE state IN ('pending', 'unknown', 'open')
    """,
    "CREATE INDEX ix_orders_symbol ON bridge.orders (account_id, symbol, created_at, id) WHERE NOT is_deleted",
    "CREATE INDEX ix_trades_account ON bridge.trades (account_id, traded_at, id) WHERE NOT is_deleted",
    """
    CREATE INDEX ix_trades_connector ON bridge.trades (account_id, connector_name, traded_at, id)
        WHERE NOT is_deleted
    """,
    """
    CREATE INDEX ix_trades_symbol ON bridge.trades (account_id, symbol, traded_at, id)
        WHERE NOT is_deleted
    """,
    "CREATE INDEX ix_trades_order ON bridge.trades (order_id)",
    "CREATE INDEX ix_trades_age ON bridge.trades (is_deleted, traded_at)",
    "CREATE INDEX ix_orders_age ON bridge.orders (is_deleted, created_at)",
    "CREATE INDEX ix_portfolio_snapshots_age ON bridge.portfolio_snapshots (bucket)",
    "CREATE INDEX ix_portfolio_snapshots_bucket ON bridge.portfolio_snapshots (account_id, bucket)",
)


def upgrade() -> None:
    for statement in (ORDERS, TRADES, RECONCILIATIONS, PORTFOLIO_SNAPSHOTS, RISK_RULES, *INDEXES):
        op.execute(statement)


def downgrade() -> None:
    refuse_to_lose_orders(op.get_bind())
    for table in ("risk_rules", "portfolio_snapshots", "reconciliations", "trades", "orders"):
        op.drop_table(table, schema="bridge")


def refuse_to_lose_orders(connection: sa.Connection) -> None:
    """The journal is nowhere else: going back is for databases in which nothing was ever ordered."""
    if connection.scalar(sa.text("SELECT EXISTS (SELECT FROM bridge.orders)")):
        raise CommandError(
            "bridge.orders holds orders, which this downgrade would destroy; nothing was changed"
        )
