"""Which account runs PostgreSQL, what that account can enter, and the private directories made for it.

PostgreSQL refuses to run as root, so root drops to an account that owns nothing else here.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from servicekit.errors import StartupError

_SERVER_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs the server in root's stead."""

    name: str
    uid: int
    gid: int

    def blocked_at(self, path: Path) -> Path | None:
        """The first directory on the way down to ``path`` that the account can't enter."""
        for directory in reversed(path.resolve().parents):
            status = directory.stat()
            if self.uid == status.st_uid:
                bit = stat.S_IXUSR
            elif self.gid == status.st_gid:
                bit = stat.S_IXGRP
            else:
                bit = stat.S_IXOTH
            if not status.st_mode & bit:
                return directory
        return None


def dropped_to(data_directories: Iterable[Path]) -> Account | None:
    """None for an ordinary user, who runs the server himself; for root the account that runs it instead.

    Data that is there already decides: only its owner can use it, even if ``postgres`` was created since.
    """
    if os.geteuid() != 0:
        return None
    for directory in data_directories:
        return _account_of(directory.lstat().st_uid)
    for name in _SERVER_ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise StartupError(
        "PostgreSQL must not run as root, and there is neither an account postgres nor nobody to run it:"
        " create one of them, or start as an ordinary user."
    )


def _account_of(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise StartupError(
            f"The private PostgreSQL's data belongs to user id {uid}, which has no account:"
            " give the data to one that exists."
        ) from None
    return Account(entry.pw_name, uid, entry.pw_gid)


def check_enterable(account: Account | None, path: Path, what: str) -> None:
    """StartupError naming the directory when the account that runs the server can't reach ``path``."""
    if account and (blocked := account.blocked_at(path)):
        raise StartupError(
            f"PostgreSQL must not run as root, and the account {account.name}, which runs it instead,"
            f" can't enter {blocked}, under which {what}: choose another place, or start as an ordinary user."
        )


def make_home(home: Path) -> None:
    """Makes the home where it is absent; as root so that the server's account can pass, but not list it."""
    for directory in [*reversed(home.parents), home]:
        if not directory.is_dir():
            # With its mode at once: another process that starts now must not find it shut.
            directory.mkdir(mode=passable(), exist_ok=True)
            directory.chmod(passable())  # for a umask that took from it


def passable() -> int:
    """The mode of a directory of ours on the way to the data: as root, another account must pass."""
    return 0o711 if os.geteuid() == 0 else 0o700


def make_private(path: Path, owner: Account | None, *, mode: int = 0o700, remedy: str) -> None:
    """Makes a directory of our own, or takes our own from before; refuses what someone else put there.

    All is done on a descriptor: nobody can swap the directory for a link between the check and the change.
    """
    us = os.geteuid()
    uid, gid = (owner.uid, owner.gid) if owner else (us, -1)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (NotADirectoryError, PermissionError) as error:
        raise StartupError(f"{path} is not a directory of our own ({error.strerror}): {remedy}.") from error
    try:
        found = os.fstat(descriptor).st_uid
        if found not in (us, uid):
            raise StartupError(f"{path} belongs to another user (id {found}): {remedy}.")
        if found != uid:
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
