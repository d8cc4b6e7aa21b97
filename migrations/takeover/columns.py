"""What the columns of an old table mean: SQL over whatever of them is there, of whatever type.

``o`` is the old table. A column that is missing reads as NULL.
"""

from collections.abc import Mapping
from typing import Final

_YES: Final = "'true', 't', 'yes', 'y', 'on', '1'"


class OldColumns:
    """The columns of one old table, read in the form that the new tables have."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types

    def text(self, *names: str) -> str:
        """The first of the columns that is there."""
        for name in names:
            if name in self._types:
                return f"o.{name}::text"
        return "NULL::text"

    def token(self, name: str) -> str:
        """A Fernet token, which some stored as bytes; an empty one is none."""
        if self._types.get(name) == "bytea":
            return f"nullif(convert_from(o.{name}, 'UTF8'), '')"
        return f"nullif({self.text(name)}, '')"

    def time(self, name: str) -> str:
        """A point in time; without a zone it is UTC."""
        if name not in self._types:
            return "NULL::timestamptz"
        if self._types[name] == "timestamp with time zone":
            return f"o.{name}"
        return f"o.{name}::timestamp AT TIME ZONE 'UTC'"

    def flag(self, *names: str, default: bool = False) -> str:
        """A boolean, or the number or word that stood for one; NULL reads as the default."""
        return f"coalesce(lower({self.text(*names)}) IN ({_YES}), {default})"

    def deleted_at(self) -> str:
        """When a row was deleted; where that was not written down, now, from when on its erasure is due."""
        deleted = f"({self.flag('is_deleted')} OR {self.time('deleted_at')} IS NOT NULL)"
        return f"CASE WHEN {deleted} THEN coalesce({self.time('deleted_at')}, now()) END"
