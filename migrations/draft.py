"""Drafts a migration: what the models have and the migrations do not. ``make migration m="what it does"``.

Compares with a PostgreSQL that is started for the purpose, so that nobody's database is needed or touched.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from servicekit.database import migrate
from servicekit.database.url import parse_url
from servicekit.embedded_postgres import EmbeddedPostgres


def draft(message: str, versions: Path | None = None) -> Path:
    """Write the draft among the versions, or where a test wants it, and say where it is."""
    home = Path(tempfile.mkdtemp(prefix="keybridge-draft-", dir="/tmp"))
    home.chmod(0o711)  # where we are root, PostgreSQL runs under another account, which has to get in
    try:
        with EmbeddedPostgres(home) as postgres:
            return asyncio.run(_draft(postgres.url(), message, versions))
    finally:
        shutil.rmtree(home)


async def _draft(url: str, message: str, versions: Path | None) -> Path:
    await migrate.upgrade(parse_url(url))
    return await migrate.draft(parse_url(url), message, versions)


if __name__ == "__main__":
    sys.stdout.write(f"{draft(sys.argv[1])}\nRead it before you commit it: a draft is a guess.\n")
