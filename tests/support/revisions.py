"""Revisions of a test's own, which come after those of the history."""

from pathlib import Path

REVISION = """
revision = {revision!r}
down_revision = {before!r}
branch_labels = depends_on = None

def upgrade():
    from alembic import op
    for statement in {up!r}:
        op.execute(statement)

def downgrade():
    from alembic import op
    for statement in {down!r}:
        op.execute(statement)
"""


def write_revision(directory: Path, revision: str, before: str, *up: str, down: tuple[str, ...] = ()) -> None:
    """A revision of these statements, for ``more_versions``."""
    content = REVISION.format(revision=revision, before=before, up=up, down=down)
    (directory / f"20991231_{revision}_of_a_test.py").write_text(content)
