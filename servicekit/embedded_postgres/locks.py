"""A lock on a file that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class FileLock:
    """Open from its making until ``release``; processes that are executed don't inherit it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._released = False

    def shared(self) -> None:
        """Takes it together with others; never waits: who excludes them does so under another lock."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def exclusive(self) -> bool:
        """Takes it alone, if nobody else holds it; a shared hold may be lost in the attempt."""
        with suppress(BlockingIOError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def release(self) -> None:
        """Lets go; the second time it does nothing."""
        if not self._released:
            self._released = True
            # Said aloud: a forked child may hold a copy of the descriptor, so closing ours would not let go.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
