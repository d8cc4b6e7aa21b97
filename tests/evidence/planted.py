"""Secrets made for one run, and the search that has to find them nowhere, in whatever form they were written."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from urllib.parse import quote

_PIECE = 16


class Planted:
    """Values by name. What is looked for is the beginning and the end of each, so that a cut one is found too."""

    def __init__(self) -> None:
        self._needles: dict[bytes, str] = {}
        self.names: list[str] = []

    def new(self, name: str, *, length: int = 40) -> str:
        """A fresh secret, planted; letters and digits only, so that no escaping hides it."""
        return self.add(name, secrets.token_hex(length // 2))

    def add(self, name: str, value: str | bytes) -> str:
        """Plant a value that comes from elsewhere; the text is given back as it is."""
        raw = value.encode() if isinstance(value, str) else value
        self.names.append(name)
        for piece in {raw[:_PIECE], raw[-_PIECE:]}:
            for form, needle in _forms(piece):
                self._needles[needle] = f"{name} ({form})"
        return value if isinstance(value, str) else ""

    def found_in(self, *places: bytes) -> list[str]:
        """The names of those that are there, and the form in which they are."""
        return sorted({name for place in places for needle, name in self._needles.items() if needle in place})


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "as it is", value
    yield "hex", value.hex().encode()
    yield "HEX", value.hex().upper().encode()
    yield "URL-encoded", quote(value, safe="").encode()
    yield "URL-encoded path", quote(value).encode()
    yield "repr", repr(value)[2:-1].encode()
    text = value.decode(errors="replace")
    yield "JSON", json.dumps(text)[1:-1].encode()
    for form, encode in (("base64", base64.b64encode), ("URL-safe base64", base64.urlsafe_b64encode)):
        yield from ((form, needle) for needle in _inside_base64(value, encode))


def _inside_base64(value: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """How a value looks within something longer that was encoded: by where its first byte fell."""
    for offset in range(3):
        # The characters that share bits with neighbours are left out.
        whole = encode(bytes(offset) + value)
        first = (0, 2, 3)[offset]
        last = (offset + len(value)) * 4 // 3
        yield whole[first:last]
