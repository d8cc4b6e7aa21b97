"""A file whose content may change while the service runs: read at the start, and again once it has changed.

A change is never a restart. What cannot be used (half-written, gone, of another form) leaves the former content in
force until it can, and the log says so once for each change.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final, Generic, TypeVar

from servicekit import logs
from servicekit.errors import StartupError
from servicekit.files import Watched

T = TypeVar("T")

LOOK_EVERY: Final = timedelta(seconds=1)
"""A file is looked at no more often than this, whoever asks for it how often."""


class Followed(Generic[T]):
    """What a file says. ``read`` makes something of its text, or raises a ValueError that says what is wrong.

    Each content that is taken up is an object of its own, so that who keeps something made of it can tell.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[str], T],
        *,
        name: str,
        look_every: timedelta = LOOK_EVERY,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._path = path
        self._read = read
        self._name = name
        self._look_every = look_every.total_seconds()
        self._clock = clock
        self._log = logs.get(__name__).bind()
        self._file = Watched([path])
        self._looked_at = clock()
        self._content = self._taken()

    def current(self) -> T:
        """What it says now."""
        now = self._clock()
        if now - self._looked_at >= self._look_every:
            self._looked_at = now
            self._look()
        return self._content

    def _look(self) -> None:
        taken = self._file.take_up(self._taken, self._refused)
        if taken is not None:
            self._content = taken
            self._log.info("file reloaded", name=self._name, file=str(self._path))

    def _refused(self, reason: str) -> None:
        self._log.warning("the former content of a file stays in force", reason=reason)

    def _taken(self) -> T:
        try:
            return self._read(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StartupError(f"The {self._name} {self._path} can't be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise StartupError(f"The {self._name} {self._path} is not text.") from None
        except ValueError as error:
            raise StartupError(f"The {self._name} {self._path} can't be used: {error}.") from None
