"""The claim of a revision, as columns: whoever writes these takes it to the bridge, and nobody else does meanwhile."""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, literal

Lease = timedelta | ColumnElement[timedelta]


def taken(lease: Lease) -> dict[str, Any]:
    """Taken by the writer, for so long; when it has not said by then what came of it, somebody else takes it."""
    return {
        "next_attempt_at": func.clock_timestamp() + lease,
        "last_attempt_at": func.clock_timestamp(),
        "attempt_count": literal(1, literal_execute=True),
    }


def due() -> dict[str, Any]:
    """Free for whoever comes first."""
    return {"next_attempt_at": func.clock_timestamp(), "attempt_count": 0}


def claimed(lease: timedelta | None) -> dict[str, Any]:
    """Taken by the writer, or free where he does not want it himself."""
    return due() if lease is None else taken(lease)
