"""HTTP/2 by hand, for callers that no library lets one be: every frame is as the test wants it.

Only what an attacker needs: frames, and headers as literals that refer to no table. Answers are read as frames and
hardly understood.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
ACK, END_STREAM, END_HEADERS = 1, 1, 4
REFUSED_STREAM, CANCEL = 7, 8

_HEAD = struct.Struct(">HBBBI")
_PATIENCE = 10.0

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was read."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Any frame, whether it makes sense or not."""
    return _HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def block(headers: Headers) -> bytes:
    """Headers as HPACK has them at its plainest."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


def call_headers(path: str, *more: tuple[str, str]) -> bytes:
    """The headers with which a call begins."""
    return block(
        (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *more,
        )
    )


def taken_back(headers: bytes, streams: Iterable[int]) -> bytes:
    """Calls that are begun and reset at once."""
    reset = CANCEL.to_bytes(4, "big")
    return b"".join(
        frame(HEADERS, headers, flags=END_HEADERS, stream=stream) + frame(RST_STREAM, reset, stream=stream)
        for stream in streams
    )


class Connection:
    """One connection, greeted or not."""

    def __init__(self, port: int, *, greet: bool = True, acknowledge: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""
        if greet:
            self.send(PREFACE, frame(SETTINGS))
        if greet and acknowledge:
            next(each for each in self.frames() if each.kind == SETTINGS)
            self.send(frame(SETTINGS, flags=ACK))

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def forget_answers(self) -> None:
        """Read what is there and keep nothing of it; OSError when the server has closed the connection."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
        except BlockingIOError:
            return
        finally:
            self.socket.settimeout(_PATIENCE)
        raise ConnectionResetError

    def frames(self, seconds: float = _PATIENCE) -> Iterator[Frame]:
        """What the server says, until it closes the connection; a silence of so long is a time-out."""
        self.socket.settimeout(seconds)
        while True:
            while len(self._read) >= 9:
                high, low, kind, flags, stream = _HEAD.unpack(self._read[:9])
                end = 9 + (high << 8 | low)
                if len(self._read) < end:
                    break
                payload, self._read = self._read[9:end], self._read[end:]
                yield Frame(kind, flags, stream & 0x7FFFFFFF, payload)
            try:
                some = self.socket.recv(65536)
            except ConnectionError:
                return
            if not some:
                return
            self._read += some

    def is_closed(self, seconds: float = _PATIENCE) -> bool:
        """Whether the server closes it before it has been silent for so long."""
        try:
            for _ in self.frames(seconds):
                pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _text(value: str) -> bytes:
    raw = value.encode()
    return _number(len(raw)) + raw


def _number(value: int) -> bytes:
    """A whole number in HPACK's form, behind a bit that says that no Huffman code is used."""
    if value < 127:
        return bytes([value])
    out = bytearray([127])
    value -= 127
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
