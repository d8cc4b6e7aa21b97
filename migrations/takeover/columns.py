"""What the columns of an old table mean: SQL over whatever of them is there, of whatever type.

``o`` is the old table. A column that is missing reads as NULL. What text says of a time without a zone is UTC,
because the transaction's time zone is.
"""

from collections.abc import Mapping, Sequence
from typing import Final

SANDBOX: Final = ("is_sandbox", "sandbox", "is_testnet", "testnet", "is_demo", "demo")
ACTIVE: Final = ("is_active", "active", "is_enabled", "enabled")
DISABLED: Final = ("is_disabled", "disabled")
DELETED: Final = ("is_deleted", "deleted")

_YES: Final = "'true', 't', 'yes', 'y', 'on', '1'"
_NOT_LIVE: Final = "'sandbox', 'testnet', 'test', 'demo'"
# The years that a message can hold: infinity and the like are no times that anyone could be told.
_TELLABLE: Final = "BETWEEN '0001-01-02' AND '9999-12-30'"


class OldColumns:
    """The columns of one old table, read in the form that the new tables have; and which of them were read."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._read: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._types

    @property
    def not_read(self) -> Sequence[str]:
        """Those that nobody has asked for."""
        return [name for name in self._types if name not in self._read]

    def text(self, *names: str) -> str:
        """The first of the columns that is there."""
        for name in self._there(*names)[:1]:
            self._read.add(name)
            return f"o.{name}::text"
        return "NULL::text"

    def token(self, name: str) -> str:
        """A Fernet token, which some stored as bytes; an empty one is none, and one that is no text won't open."""
        text = self.text(name)
        if self._types.get(name) == "bytea":
            text = f"encode(o.{name}, 'escape')"
        return f"nullif({text}, '')"

    def time(self, name: str) -> str:
        """A point in time; without a zone it is UTC."""
        written = f"nullif(btrim({self.text(name)}), '')::timestamptz"
        return f"CASE WHEN {written} {_TELLABLE} THEN {written} END"

    def sandbox(self) -> str:
        """Whether a flag says so, or the name of an environment."""
        return (
            f"({self._any(SANDBOX)} OR coalesce(lower({self.text('environment')}) IN ({_NOT_LIVE}), false))"
        )

    def disabled(self) -> str:
        """Whether a flag says so, or denies the opposite."""
        return f"({self._any(DISABLED)} OR {self._any(ACTIVE, 'NOT IN')})"

    def deleted(self) -> str:
        """Whether a flag says so, or a date; infinity is never."""
        date = f"lower(nullif(btrim({self.text('deleted_at')}), ''))"
        return f"({self._any(DELETED)} OR coalesce({date} <> 'infinity', false))"

    def _any(self, names: Sequence[str], comparison: str = "IN") -> str:
        """Whether one of the booleans, or of the numbers or words that stood for them, is a yes, or no yes; NULL
        is neither."""
        found = [f"lower({self.text(name)}) {comparison} ({_YES})" for name in self._there(*names)]
        return f"coalesce({' OR '.join(found)}, false)" if found else "false"

    def _there(self, *names: str) -> Sequence[str]:
        return [name for name in names if name in self._types]
