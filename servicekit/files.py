"""Whether a file has changed, for what follows files while it runs. Nothing but the standard library is needed."""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int] | None
"""What a change of a file changes; None while there is no such file."""
Stamps = tuple[Stamp, ...]


def stamp(path: Path) -> Stamp:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def stamps(paths: Iterable[Path]) -> Stamps:
    return tuple(stamp(path) for path in paths)
