"""The chain that seals the audit record, and positions that are drawn only by who has a transaction id."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

AUDIT_SEALS = """
CREATE TABLE audit_seals (
    number bigint NOT NULL,
    encoding smallint NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    event_count bigint NOT NULL,
    digest bytea NOT NULL,
    previous_mac bytea NOT NULL,
    mac bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_audit_seals PRIMARY KEY (number),
    CONSTRAINT ck_audit_seals_number_positive CHECK (number > 0),
    CONSTRAINT ck_audit_seals_event_count_positive CHECK (event_count > 0),
    CONSTRAINT ck_audit_seals_positions_in_order CHECK (first_position <= last_position)
)
"""
DEFAULT = "CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('audit_positions') END"
NEXT = "coalesce(max(position), 0) + 1, false"


def upgrade() -> None:
    op.execute("CREATE SEQUENCE audit_positions AS bigint")
    op.execute("ALTER TABLE audit_events ALTER COLUMN position DROP IDENTITY")
    op.execute(f"SELECT setval('audit_positions', {NEXT}) FROM audit_events")  # noqa: S608 - ours
    op.execute(f"ALTER TABLE audit_events ALTER COLUMN position SET DEFAULT {DEFAULT}")
    op.execute(AUDIT_SEALS)


def downgrade() -> None:
    if op.get_bind().scalar(sa.text("SELECT EXISTS (SELECT FROM audit_seals)")):
        raise CommandError("audit_seals holds seals of the audit record, which this downgrade would destroy")
    op.drop_table("audit_seals")
    op.execute("ALTER TABLE audit_events ALTER COLUMN position DROP DEFAULT")
    op.execute("ALTER TABLE audit_events ALTER COLUMN position ADD GENERATED ALWAYS AS IDENTITY")
    sequence = "pg_get_serial_sequence('audit_events', 'position')"
    op.execute(f"SELECT setval({sequence}, {NEXT}) FROM audit_events")  # noqa: S608 - ours
    op.execute("DROP SEQUENCE audit_positions")
