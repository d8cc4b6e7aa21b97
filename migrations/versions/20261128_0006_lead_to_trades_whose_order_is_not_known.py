"""An index that leads to trades of which it is not known whose they are."""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = """
CREATE INDEX ix_trades_ownerless ON bridge.trades (account_id, connector_name, symbol, exchange_order_id)
 WHERE order_id IS NULL
"""


def upgrade() -> None:
    op.execute(INDEX)


def downgrade() -> None:
    op.execute("DROP INDEX bridge.ix_trades_ownerless")
