"""``make migration`` drafts what the models have and the migrations do not."""

import re
from pathlib import Path

from migrations.draft import draft
from servicekit.database import revisions


def test_a_draft_follows_the_head_and_is_empty_while_the_models_have_nothing_new(tmp_path: Path) -> None:
    written = draft("nothing new", tmp_path)
    text = written.read_text()
    assert written.parent == tmp_path
    assert re.fullmatch(r"[0-9]{8}_[0-9]{4}_nothing_new\.py", written.name)
    assert re.search(rf"^down_revision: .* = '{revisions.newest()}'$", text, flags=re.M)
    assert "op." not in text
