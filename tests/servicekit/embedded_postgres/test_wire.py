"""What a connect tells about a server."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servicekit.embedded_postgres import wire
from servicekit.embedded_postgres.wire import State


def error(sqlstate: str) -> bytes:
    body = f"SFATAL\0C{sqlstate}\0Mno\0\0".encode()
    return b"E" + struct.pack("!i", len(body) + 4) + body


@pytest.fixture
def answering(place: Path) -> Iterator[Callable[[bytes], Path]]:
    """A socket that gives one caller the answer and closes."""
    threads: list[threading.Thread] = []

    def listen(answer: bytes) -> Path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(place / "socket"))
        listener.listen()

        def serve() -> None:
            with listener, listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return place / "socket"

    yield listen
    for thread in threads:
        thread.join()


def test_nobody_there_is_absent(place: Path) -> None:
    assert wire.probe(place / "socket") is State.ABSENT


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (error("57P03"), State.BUSY),  # it is starting up
        (error("53300"), State.READY),  # too many clients
        (b"", State.ABSENT),
        (b"R\0\0\0\x08\0\0", State.ABSENT),  # cut short
    ],
)
def test_the_state_is_read_from_the_answer(
    answering: Callable[[bytes], Path], answer: bytes, state: State
) -> None:
    assert wire.probe(answering(answer)) is state


def test_a_server_that_hangs_is_absent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PROBE_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        listener.listen()
        assert wire.probe(place / "socket") is State.ABSENT
