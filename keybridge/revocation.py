"""The file of tokens that are denied: read, and changed by one at a time."""

import fcntl
from collections.abc import Callable
from pathlib import Path

from keybridge import private_files
from servicekit.errors import SettingsError
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
    lock = file.with_name(f".{file.name}.lock")
    private_files.make(lock, str)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        private_files.write(file, how(read(file)).text(), as_it_was=True)
