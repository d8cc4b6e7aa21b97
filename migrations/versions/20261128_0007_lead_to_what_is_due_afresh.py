"""An index that leads to keys that are due and not tried yet, past all that waits for the end of an outage."""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | Sequence[str] | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = """
CREATE INDEX ix_exchange_api_keys_due_afresh ON exchange_api_keys (next_attempt_at)
 WHERE bridge_state IN ('pending', 'removing') AND bridge_reason IS NULL
"""


def upgrade() -> None:
    op.execute(INDEX)


def downgrade() -> None:
    op.execute("DROP INDEX ix_exchange_api_keys_due_afresh")
