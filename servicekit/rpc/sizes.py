"""The bounds that every field of every request has, so that none is ever without one.

They are far above what anything needs. A service's own checks are narrower and say it better; these are for what
nobody thought of, and keep the checks themselves from having much to look through.
"""

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from servicekit.validation import Violations

LONGEST: Final = 16 * 1024
"""Characters of a text, or bytes; a credential, the longest that anything is, has a quarter of it."""

MOST: Final = 4 * 1024
"""Entries of a list or a map."""

# Every entry takes a byte at least, and so does every character.
_HARMLESS = min(LONGEST, MOST)


def require_bounded(request: Message, size: int) -> None:
    """Refuse a request in which something is longer than anything may be. Small ones are not looked through."""
    if size <= _HARMLESS:
        return
    violations = Violations()
    for path, description in _unbounded(request, ""):
        violations.add(path, description)
    violations.refuse()


def _unbounded(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if not field.is_repeated:
            yield from _one(field, value, path)
        elif len(value) > MOST:
            yield path, f"has {len(value)} entries; at most {MOST} are allowed"
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, entry = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            for name in value:
                # The name is not told: it may be a secret that was put on the wrong side of the map.
                yield from _one(key, name, path)
                yield from _one(entry, value[name], path)
        else:
            for place, each in enumerate(value):
                yield from _one(field, each, f"{path}[{place}]")


def _one(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if field.message_type is not None:
        yield from _unbounded(value, f"{path}.")
    elif isinstance(value, str | bytes) and len(value) > LONGEST:
        unit = "characters" if isinstance(value, str) else "bytes"
        yield path, f"is {len(value)} {unit} long; at most {LONGEST} are allowed"
