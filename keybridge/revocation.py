"""The file of tokens that are denied: read, and changed by one at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keybridge import private_files
from servicekit.errors import SettingsError, StartupError
from servicekit.rpc.deny_list import DenyList


def read(file: Path) -> DenyList:
    """What it says; nothing is denied where there is none."""
    text = private_files.read(file)
    try:
        return DenyList.read(text) if text else DenyList()
    except ValueError as error:
        raise SettingsError(f"The deny-list {file} can't be used: {error}.") from None


def change(file: Path, how: Callable[[DenyList], DenyList]) -> None:
    """Services take it up within a second. Two changes at once are made one after the other.

    The file may be another account's, who has to be able to read it afterwards, and the services' by a link.
    """
    file = file.resolve()
    with _one_at_a_time(file):
        private_files.write(file, how(read(file)).text(), as_it_was=True)


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    """By a lock on its folder, which whoever may change the file can open: a file beside it would be only his who was
    the first.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(f"The folder of {file} can't be opened: {error.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
