"""Which revisions of the schema this release knows, and at which one a database is.

Found out by the names of the history's files and by a look at its table, without alembic, which takes a tenth
of a second to import: every start asks, and few have anything to migrate. A test holds the names to what alembic
reads in the files.
"""

from collections.abc import Sequence
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, exc, text

from servicekit.database.errors import driver_error
from servicekit.errors import StartupError

HISTORY = Path(__file__).parents[2] / "migrations"
"""Installed beside this package. It imports both services' models, so it is not imported here."""

VERSION_TABLE = "keybridge_alembic_version"
"""Our own, because an adopted database has an ``alembic_version`` of someone else's."""

_IS_THERE = text("SELECT to_regclass(:name) IS NOT NULL")
_REVISIONS = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant of ours


def places(more: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The directories of the files: the release's own, and those that a test adds."""
    return (HISTORY / "versions", *more)


def known(more: Sequence[Path] = ()) -> list[str]:
    """Every revision that this release has ever heard of, the newest last. A file is <date>_<revision>_<subject>."""
    return [path.stem.split("_")[1] for place in places(more) for path in sorted(place.glob("*_*_*.py"))]


def newest() -> str:
    """The one that this release was written for."""
    return known()[-1]


def ahead(revision: str) -> str:
    """The sentence for a database at a revision that this release does not know."""
    return (
        f"The database is ahead of this release, which ends at revision {newest()} and does not know "
        f"{revision}: run the release that migrated it, or a newer one."
    )


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at, None when it was never migrated by us; StartupError where the version
    table does not tell one revision."""
    if not connection.execute(_IS_THERE, {"name": VERSION_TABLE}).scalar_one():
        return None
    try:
        revisions = connection.execute(_REVISIONS).scalars().all()
    except exc.DBAPIError as error:
        said = driver_error(error)
        if isinstance(said, asyncpg.InsufficientPrivilegeError):
            raise StartupError(
                "The revision of the database can't be read: "
                f"grant SELECT on {VERSION_TABLE} to the service's role."
            ) from error
        if isinstance(said, asyncpg.SyntaxOrAccessError):
            raise _unlike_ours() from error
        raise
    if not all(isinstance(revision, str) for revision in revisions):
        raise _unlike_ours()
    if len(revisions) > 1:
        raise StartupError(
            f"The database is at several revisions at once ({', '.join(sorted(revisions))}), says "
            f"{VERSION_TABLE}: someone wrote to it by hand, and only the row that is true may stay."
        )
    return revisions[0] if revisions else None


def _unlike_ours() -> StartupError:
    return StartupError(
        f"The table {VERSION_TABLE} of the database is not the one that keybridge makes: "
        "someone changed it by hand, or it is another program's."
    )
