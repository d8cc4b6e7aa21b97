"""What a process of ours does for itself before it handles a secret.

No core dumps, no debugger of the same user, as many open files as the system allows, and an environment out of which
the secrets are gone once they have been read.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterable, MutableMapping

_PR_SET_DUMPABLE = 4
# More than anybody needs; where there is no limit, some programs look through all numbers up to it.
_MOST_FILES = 65_536
# What a process needs besides the connections of its callers: the database, exchanges, its own files.
_OWN_FILES = 512


def harden() -> None:
    """Keep the memory of this process from being written to a file or read by its user's other processes.

    The limit alone is not enough: a core dump that goes to a program, as most systems have it, is not held to it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(_MOST_FILES, most)
    if wanted > open_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def open_files() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


def room_for_connections(wanted: int) -> int:
    """So many of these connections as leave the process the files that it needs itself."""
    return min(wanted, max(1, open_files() - _OWN_FILES))


def take(secrets: Iterable[str], environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """A copy of the variables; those that are named are then in this copy only.

    Neither a program that is started from here inherits them, nor does the system show them to who may look at this
    process's environment.
    """
    taken = dict(environ)
    for name in secrets:
        if name in taken:
            _overwrite(name)
            del environ[name]
    return taken


def _overwrite(name: str) -> None:
    """The system shows the environment from where it was when the process began, also what was removed from it."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    if place := libc.getenv(os.fsencode(name)):
        ctypes.memset(place, 0, len(ctypes.string_at(place)))
