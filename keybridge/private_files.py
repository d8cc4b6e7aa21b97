"""Files that nobody else may read, as those under KEYBRIDGE_HOME, there as a whole or not at all, whoever writes beside
us.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from servicekit.errors import StartupError


def write(file: Path, text: str, *, as_it_was: bool = False) -> None:
    """In the place of what is there, whose owner and mode it gets if it is to be ``as_it_was``; who reads it meanwhile
    gets the one or the other.
    """
    with _draft(file, text) as draft:
        if as_it_was and file.exists():
            _make_alike(draft, file.stat())
        draft.replace(file)


def make(file: Path, text: Callable[[], str]) -> None:
    """Only where there is none yet: what somebody else has made meanwhile stays."""
    if file.exists():
        return
    # Unlike a rename, a link never replaces anything.
    with _draft(file, text()) as draft, suppress(FileExistsError):
        file.hardlink_to(draft)


def read(file: Path) -> str:
    """What is in it; nothing, where there is none."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise StartupError(f"{file} is not text.") from None
    except OSError as error:
        raise StartupError(f"{file} can't be read: {error.strerror}.") from None


def _make_alike(draft: Path, former: os.stat_result) -> None:
    # Who may not give a file away is refused here, before the other account has lost its own.
    os.chown(draft, former.st_uid, former.st_gid)
    draft.chmod(stat.S_IMODE(former.st_mode))


@contextmanager
def _draft(file: Path, text: str) -> Iterator[Path]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as writing:
            writing.write(text)
            writing.flush()
            os.fsync(writing.fileno())
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StartupError(f"{file} can't be written: {error.strerror}.") from error
