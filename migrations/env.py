"""What alembic runs for each command: over the connection that ``servicekit.database.migrate`` hands in, or,
when a developer calls alembic itself (to draft a revision), over one from DATABASE_URL or DB_HOST and the
rest.

Logging is the caller's business and is not configured here.
"""

import asyncio
import os

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection

import bridgeservice.models  # noqa: F401 - so that its tables are in the metadata
import keyservice.models  # noqa: F401 - so that its tables are in the metadata
from servicekit.database.migrate import hold_alone, migration_engine
from servicekit.database.models import Base
from servicekit.database.revisions import VERSION_TABLE
from servicekit.database.url import url_from_environment

SCHEMAS = frozenset({None, "bridge"})


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Compare with the schemas that are ours only; a database may hold others."""
    return kind != "schema" or name in SCHEMAS


def migrate(connection: Connection) -> None:
    """Each revision in a transaction of its own: killed half-way, the database is at the one before."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        transaction_per_migration=True,
        compare_server_default=True,
        include_schemas=True,
        include_name=include_name,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_from_environment() -> None:
    engine = migration_engine(url_from_environment(os.environ))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(hold_alone)
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    # Taking over an old database begins with a look at it, which a script of SQL can't do.
    raise CommandError("migrations need a database: there is no offline mode")
if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(migrate_from_environment())
