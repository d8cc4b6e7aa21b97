"""The schema that holds the bridge's tables; the key service's are in the database's default one."""

from collections.abc import Sequence

from alembic import op

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS bridge")


def downgrade() -> None:
    op.execute("DROP SCHEMA bridge")
