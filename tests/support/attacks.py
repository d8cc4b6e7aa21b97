"""What somebody on the network can do who wants to do harm and has no credentials, each as bounded as its name says.

An attack is called with a port, with the path of a method, and with ``go_on``, which it asks between its steps. It
gives back what it holds at its end, and hardly understands an answer.
"""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from tests.support import http2
from tests.support.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    SETTINGS,
    Connection,
    frame,
)

GoOn = Callable[[], bool]
Attack = Callable[[int, str, GoOn], None]

_HELD, _IDLE = 100, 2000
_GREEDY = 10
_BATCH = 50
_PAUSE = 0.01
_HEALTH = "/grpc.health.v1.Health/Check"
# So many batches fit on one connection before its numbers of streams would run out.
_MOST_BATCHES = 10_000


def garbage(port: int, _path: str, go_on: GoOn) -> None:
    """Bytes that are nothing, on one connection after another."""
    chance = random.Random(7)  # noqa: S311 - it has to be repeatable, and guards nothing
    while go_on():
        with suppress(OSError), Connection(port, greet=False) as connection:
            connection.send(chance.randbytes(chance.randint(1, 4096)))
        time.sleep(_PAUSE)


def half_prefaces(port: int, _path: str, go_on: GoOn) -> None:
    """Connections that begin to greet and never come to the end of it."""
    _hold(port, _HELD, http2.PREFACE[:12], go_on)


def idle_connections(port: int, _path: str, go_on: GoOn) -> None:
    """Connections by the thousand that never say anything."""
    _hold(port, _IDLE, b"", go_on)


def slow_headers(port: int, path: str, go_on: GoOn) -> None:
    """Calls whose headers come byte by byte, and begin anew before they have come to their end."""
    headers = http2.call_headers(path)
    while go_on():
        with ExitStack() as stack:
            them = [stack.enter_context(Connection(port)) for _ in range(_HELD)]
            _send(them, frame(HEADERS, headers[:1], stream=1))
            for byte in headers[1:]:
                if not go_on():
                    return
                _send(them, frame(CONTINUATION, bytes([byte]), stream=1))
                time.sleep(_PAUSE)


def continuation_flood(port: int, path: str, go_on: GoOn) -> None:
    """Headers that never end."""
    more = frame(CONTINUATION, http2.block([("x-more", "x" * 50)]), stream=1) * _BATCH
    first = frame(HEADERS, http2.call_headers(path), stream=1)
    _flood(port, go_on, first, lambda _: more)


def rapid_resets(port: int, path: str, go_on: GoOn) -> None:
    """Calls that are begun and reset at once."""
    headers = http2.call_headers(path)

    def batch(number: int) -> bytes:
        return http2.taken_back(headers, range(2 * number * _BATCH + 1, 2 * (number + 1) * _BATCH + 1, 2))

    _flood(port, go_on, b"", batch)


def withheld_requests(port: int, _path: str, go_on: GoOn) -> None:
    """Calls for health whose request never comes: on each of ten connections one more a hundred times a second."""
    headers = http2.call_headers(_HEALTH)
    with ExitStack() as stack:
        them = [stack.enter_context(Connection(port)) for _ in range(_GREEDY)]
        for number in range(_MOST_BATCHES):
            if not go_on():
                return
            _send(them, frame(HEADERS, headers, flags=END_HEADERS, stream=2 * number + 1))
            for each in them:
                with suppress(OSError):
                    each.forget_answers()
            time.sleep(_PAUSE)


def oversized_frames(port: int, path: str, go_on: GoOn) -> None:
    """Frames of sixteen megabytes, or so they say."""
    begun = frame(HEADERS, http2.call_headers(path), flags=END_HEADERS, stream=1)
    lie = (2**24 - 1).to_bytes(3, "big") + bytes([DATA, 0]) + (1).to_bytes(4, "big") + bytes(50_000)
    _flood(port, go_on, begun, lambda _: lie)


def ping_flood(port: int, _path: str, go_on: GoOn) -> None:
    """More pings than anybody needs."""
    _flood(port, go_on, b"", lambda _: frame(PING, b"01234567") * _BATCH)


def settings_flood(port: int, _path: str, go_on: GoOn) -> None:
    """New settings again and again, each of which wants to be acknowledged."""
    _flood(port, go_on, b"", lambda _: frame(SETTINGS, b"\0\4\0\1\0\0") * _BATCH)


ATTACKS: dict[str, Attack] = {
    each.__name__.replace("_", " "): each
    for each in (
        garbage,
        half_prefaces,
        slow_headers,
        continuation_flood,
        rapid_resets,
        withheld_requests,
        oversized_frames,
        ping_flood,
        settings_flood,
        idle_connections,
    )
}


def _send(them: list[Connection], raw: bytes) -> None:
    for connection in them:
        with suppress(OSError):
            connection.send(raw)


def _hold(port: int, count: int, said: bytes, go_on: GoOn) -> None:
    with ExitStack() as stack:
        them = [stack.enter_context(Connection(port, greet=False)) for _ in range(count)]
        _send(them, said)
        while go_on():
            time.sleep(_PAUSE)


def _flood(port: int, go_on: GoOn, first: bytes, batch: Callable[[int], bytes]) -> None:
    """On one connection after another, each until the server has had enough of it."""
    while go_on():
        with suppress(OSError, StopIteration), Connection(port) as connection:
            connection.send(first)
            for number in range(_MOST_BATCHES):
                if not go_on():
                    return
                connection.send(batch(number))
                connection.forget_answers()
                time.sleep(_PAUSE)
