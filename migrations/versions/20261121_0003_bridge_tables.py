"""The bridge's tables: accounts, what exchanges trade, and the books of the paper exchange."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACCOUNTS = """
CREATE TABLE bridge.accounts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    account_name text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_accounts PRIMARY KEY (id),
    CONSTRAINT uq_accounts_account_name UNIQUE (account_name),
    CONSTRAINT ck_accounts_account_name_not_empty CHECK (account_name <> '')
)
"""

INSTRUMENTS = """
CREATE TABLE bridge.instruments (
    exchange text NOT NULL,
    environment varchar(64) NOT NULL,
    kind varchar(64) NOT NULL,
    symbol text NOT NULL,
    payload jsonb NOT NULL,
    loaded_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_instruments PRIMARY KEY (exchange, environment, kind, symbol),
    CONSTRAINT ck_instruments_environment CHECK (environment IN ('LIVE', 'SANDBOX')),
    CONSTRAINT ck_instruments_kind CHECK (kind IN ('market', 'currency'))
)
"""

PAPER_ACCOUNTS = """
CREATE TABLE bridge.paper_accounts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    account_id uuid NOT NULL,
    connector_name text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_paper_accounts PRIMARY KEY (id),
    CONSTRAINT uq_paper_accounts_account_id_connector_name UNIQUE (account_id, connector_name),
    CONSTRAINT fk_paper_accounts_account_id_accounts
        FOREIGN KEY (account_id) REFERENCES bridge.accounts (id) ON DELETE RESTRICT
)
"""

PAPER_BALANCES = """
CREATE TABLE bridge.paper_balances (
    paper_account_id uuid NOT NULL,
    asset text NOT NULL,
    free numeric DEFAULT '0' NOT NULL,
    used numeric DEFAULT '0' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_paper_balances PRIMARY KEY (paper_account_id, asset),
    CONSTRAINT fk_paper_balances_paper_account_id_paper_accounts
        FOREIGN KEY (paper_account_id) REFERENCES bridge.paper_accounts (id) ON DELETE RESTRICT,
    CONSTRAINT ck_paper_balances_free_not_negative CHECK (free >= 0 AND free < 'Infinity'),
    CONSTRAINT ck_paper_balances_used_not_negative CHECK (used >= 0 AND used < 'Infinity')
)
"""

PAPER_ORDERS = """
CREATE TABLE bridge.paper_orders (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    paper_account_id uuid NOT NULL,
    client_order_id text,
    symbol text NOT NULL,
    side varchar(64) NOT NULL,
    type varchar(64) NOT NULL,
    state varchar(64) DEFAULT 'open' NOT NULL,
    amount numeric NOT NULL,
    price numeric,
    fee_rate numeric DEFAULT '0' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_paper_orders PRIMARY KEY (id),
    CONSTRAINT uq_paper_orders_paper_account_id_client_order_id UNIQUE (paper_account_id, client_order_id),
    CONSTRAINT fk_paper_orders_paper_account_id_paper_accounts
        FOREIGN KEY (paper_account_id) REFERENCES bridge.paper_accounts (id) ON DELETE RESTRICT,
    CONSTRAINT ck_paper_orders_side CHECK (side IN ('buy', 'sell')),
    CONSTRAINT ck_paper_orders_type CHECK (type IN ('market', 'limit')),
    CONSTRAINT ck_paper_orders_state CHECK (state IN ('open', 'filled', 'canceled')),
    CONSTRAINT ck_paper_orders_amount_positive CHECK (amount > 0 AND amount < 'Infinity'),
    CONSTRAINT ck_paper_orders_price_positive CHECK (price > 0 AND price < 'Infinity'),
    CONSTRAINT ck_paper_orders_price_exactly_with_limit CHECK ((price IS NOT NULL) = (type = 'limit')),
    CONSTRAINT ck_paper_orders_only_limits_are_open CHECK (type = 'limit' OR state <> 'open'),
    CONSTRAINT ck_paper_orders_fee_rate_is_a_share CHECK (fee_rate >= 0 AND fee_rate < 1)
)
"""

PAPER_FILLS = """
CREATE TABLE bridge.paper_fills (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    paper_order_id uuid NOT NULL,
    amount numeric NOT NULL,
    price numeric NOT NULL,
    cost numeric NOT NULL,
    fee_asset text NOT NULL,
    fee numeric NOT NULL,
    filled_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT pk_paper_fills PRIMARY KEY (id),
    CONSTRAINT uq_paper_fills_paper_order_id UNIQUE (paper_order_id),
    CONSTRAINT fk_paper_fills_paper_order_id_paper_orders
        FOREIGN KEY (paper_order_id) REFERENCES bridge.paper_orders (id) ON DELETE RESTRICT,
    CONSTRAINT ck_paper_fills_amount_positive CHECK (amount > 0 AND amount < 'Infinity'),
    CONSTRAINT ck_paper_fills_price_positive CHECK (price > 0 AND price < 'Infinity'),
    CONSTRAINT ck_paper_fills_cost_exact CHECK (cost = amount * price),
    CONSTRAINT ck_paper_fills_fee_not_negative CHECK (fee >= 0 AND fee < 'Infinity')
)
"""

OPEN_PAPER_ORDERS = """
CREATE INDEX ix_paper_orders_open ON bridge.paper_orders (paper_account_id, created_at, id) WHERE state = 'open'
"""

PAPER_ORDERS_OF_AN_ACCOUNT = """
CREATE INDEX ix_paper_orders_account ON bridge.paper_orders (paper_account_id, created_at, id)
"""


def upgrade() -> None:
    for table in (ACCOUNTS, INSTRUMENTS, PAPER_ACCOUNTS, PAPER_BALANCES, PAPER_ORDERS, PAPER_FILLS):
        op.execute(table)
    for index in (OPEN_PAPER_ORDERS, PAPER_ORDERS_OF_AN_ACCOUNT):
        op.execute(index)


def downgrade() -> None:
    refuse_to_lose_accounts(op.get_bind())
    for table in (
        "paper_fills",
        "paper_orders",
        "paper_balances",
        "paper_accounts",
        "instruments",
        "accounts",
    ):
        op.drop_table(table, schema="bridge")


def refuse_to_lose_accounts(connection: sa.Connection) -> None:
    """What hangs on an account is nowhere else: going back is for databases that were never used."""
    if connection.scalar(sa.text("SELECT EXISTS (SELECT FROM bridge.accounts)")):
        raise CommandError(
            "bridge.accounts holds accounts, which this downgrade would destroy; nothing was changed"
        )
