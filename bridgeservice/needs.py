"""What needs PostgreSQL, on a bridge that may run without it."""

from servicekit.database.engine import Database
from servicekit.errors import FailedPrecondition


def required(database: Database | None, what: str) -> Database:
    """The database; refused, with what it is needed for, where the bridge has none."""
    if database is None:
        raise FailedPrecondition(
            f"{what} in PostgreSQL, and this bridge runs without a database: set BRIDGESERVICE_DATABASE_URL.",
            reason="DATABASE_REQUIRED",
        )
    return database
