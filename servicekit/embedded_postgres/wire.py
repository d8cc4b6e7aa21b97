"""As much of PostgreSQL's protocol as the private server needs: is it there, and one statement.

Spoken directly, because a client library can be led astray by PG* variables and service files, and because
this must work with or without a running event loop. Authentication is trust, over a socket only we can reach.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

USER = "postgres"
_PROTOCOL_3 = 196608
_CANNOT_CONNECT_NOW = "57P03"
_PROBE_SECONDS = 5.0
_STATEMENT_SECONDS = 60.0


class State(Enum):
    """What answers at a socket."""

    ABSENT = auto()
    BUSY = auto()  # starting, recovering or shutting down
    READY = auto()


class ServerError(Exception):
    """The server refused; its SQLSTATE says why."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def probe(path: Path) -> State:
    """A real connect. A server that refuses us for another reason, such as too many clients, is alive."""
    try:
        with _session(path, _PROBE_SECONDS):
            return State.READY
    except ServerError as error:
        return State.BUSY if error.sqlstate == _CANNOT_CONNECT_NOW else State.READY
    except OSError:
        return State.ABSENT


def execute(path: Path, statement: str) -> str:
    """Runs one statement in the database ``postgres`` and returns its command tag, such as ``SELECT 1``."""
    with _session(path, _STATEMENT_SECONDS) as (connection, replies):
        body = statement.encode() + b"\0"
        connection.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
        return _until_ready(replies)


@contextmanager
def _session(path: Path, timeout: float) -> Iterator[tuple[socket.socket, BinaryIO]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        parameters = f"user\0{USER}\0database\0postgres\0application_name\0keybridge\0\0".encode()
        connection.sendall(struct.pack("!ii", len(parameters) + 8, _PROTOCOL_3) + parameters)
        with connection.makefile("rb") as replies:
            _until_ready(replies)
            yield connection, replies
        connection.sendall(b"X" + struct.pack("!i", 4))


def _until_ready(replies: BinaryIO) -> str:
    tag = ""
    while True:
        header = _exactly(replies, 5)
        kind, body = header[:1], _exactly(replies, struct.unpack("!i", header[1:])[0] - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0")}
            raise ServerError(fields.get(b"C", ""), fields.get(b"M", ""))
        if kind == b"C":
            tag = body.rstrip(b"\0").decode()
        if kind == b"Z":
            return tag


def _exactly(replies: BinaryIO, size: int) -> bytes:
    data = replies.read(size)
    if len(data) < size:
        raise ConnectionResetError("The server closed the connection.")
    return data
