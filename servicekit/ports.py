"""Whether an address can be listened on, found out with a plain socket, and the sentence when it cannot.

gRPC would only print its reason. Imports no grpc, because the parent of workers must not.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

from servicekit.errors import StartupError
from servicekit.values import Address


def require_free(address: Address, *, shared: bool = False) -> None:
    """Return when the address can be had, ``shared`` with processes that share it too; else StartupError."""
    found = _resolved(address)
    refusals = [code for each in found if (code := _refusal(*each, shared=shared))]
    # A name may stand for an address family that this machine lacks; that is no reason against the other one.
    decisive = [code for code in refusals if code in (errno.EADDRINUSE, errno.EACCES)]
    if decisive or len(refusals) == len(found):
        raise _cannot_listen(address, os.strerror((decisive or refusals)[0]).lower())


def in_use(address: Address) -> bool:
    """Whether somebody has the address. Whatever else may be wrong with it, the one who listens says."""
    try:
        found = _resolved(address)
    except StartupError:
        return False
    return any(_refusal(*each, shared=False) == errno.EADDRINUSE for each in found)


def chosen(address: Address) -> Address:
    """The address with a port that was free a moment ago, where the system may choose one."""
    if address.port:
        return address
    family, where = _resolved(address)[0]
    with _bound(family, where, shared=False) as probe:
        return address.with_port(probe.getsockname()[1])


@contextlib.contextmanager
def reserved(address: Address) -> Iterator[Address]:
    """Hold the address for processes that share it, without serving on it; yield it with the real port."""
    require_free(address)
    family, (host, port, *rest) = _resolved(address)[0]
    try:
        with _bound(family, (host, port, *rest), shared=False) as probe:
            port = probe.getsockname()[1]
        held = _bound(family, (host, port, *rest), shared=True)
    except OSError as error:
        raise _cannot_listen(address, os.strerror(error.errno or 0).lower()) from None
    with held:
        # From here on, only those who share the port may have it. It was on before, so that the remains
        # of closed connections did not count as somebody else.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield address.with_port(port)


def _resolved(address: Address) -> list[tuple[int, tuple[Any, ...]]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        raise _cannot_listen(address, "there is no such host") from None
    return [(entry[0], entry[4]) for entry in found]


def _refusal(family: int, where: tuple[Any, ...], *, shared: bool) -> int | None:
    try:
        _bound(family, where, shared=shared).close()
    except OSError as error:
        return error.errno
    return None


def _bound(family: int, where: tuple[Any, ...], *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    return listener


def _cannot_listen(address: Address, reason: str) -> StartupError:
    return StartupError(f"Cannot listen on {address}: {reason}.")
