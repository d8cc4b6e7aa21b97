"""Whether files have changed, for what follows them while it runs. Nothing but the standard library is needed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from servicekit.errors import StartupError

T = TypeVar("T")

Stamp = tuple[int, int, int, int] | None
"""What a change of a file changes, also one of who may read it; None while there is no such file."""


class Watched:
    """Files whose changes are taken up. One that can't be, for whatever reason, is tried again at every look: what
    was unreadable for a moment must not stay unread until the file changes once more.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """To be made before the files are first read, so that what changes meanwhile is seen at the next look."""
        self._paths = tuple(paths)
        self._taken_up = self._stamps()
        self._told: tuple[tuple[Stamp, ...], str] | None = None

    def take_up(self, read: Callable[[], T], tell: Callable[[str], object]) -> T | None:
        """What ``read`` makes of a change. None where there is none, and where the change can't be used, which is
        told once.
        """
        found = self._stamps()
        if found == self._taken_up:
            return None
        try:
            taken = read()
        except StartupError as error:
            if self._told != (found, str(error)):
                self._told = (found, str(error))
                tell(str(error))
            return None
        self._taken_up, self._told = found, None
        return taken

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> Stamp:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino
