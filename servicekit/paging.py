"""Pages of lists, and their tokens: opaque, authenticated, and good for one list with the same filters only."""

import base64
import copy
import hmac
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from google.protobuf.message import Message

Mac = Callable[[bytes, bytes], bytes]
"""Authenticates two texts, so that nobody without the key can do it, nor move a byte from one to the other."""

T = TypeVar("T")

_MAC_BYTES = 18
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of rows ended: the time by which they are sorted, and the id, of its last one."""

    time: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of rows, and where the next one begins, if there is one."""

    rows: Sequence[T]
    next: Position | None


class NotAToken(Exception):
    """The text is no token of ours, or one of another list or other filters."""


class PageTokens:
    """Writes and reads tokens. A place is what the list is sorted by; ``listing`` is the list and its filters."""

    def __init__(self, mac: Mac) -> None:
        self._mac = mac

    def write(self, place: bytes | None, listing: bytes) -> str:
        """The token behind which the list goes on; empty where it has come to its end."""
        return "" if place is None else self._token(place, listing)

    def read(self, token: str, listing: bytes) -> bytes | None:
        """Where the list goes on; None at its beginning."""
        if not token:
            return None
        try:
            place = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[:-_MAC_BYTES]
        except ValueError:
            raise NotAToken from None
        # The text is compared and not its bytes, because base64 has several spellings of them.
        if not hmac.compare_digest(token.encode(), self._token(place, listing).encode()):
            raise NotAToken
        return place

    def _token(self, place: bytes, listing: bytes) -> str:
        mac = self._mac(listing, place)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(place + mac).rstrip(b"=").decode()


def keyed(key: bytes) -> Mac:
    """An authenticator that only holders of the key can make."""

    def mac(one: bytes, other: bytes) -> bytes:
        return hmac.digest(key, len(one).to_bytes(8, "big") + one + other, "sha256")

    return mac


def listing(request: Message) -> bytes:
    """The list that is asked for, without regard to pages."""
    filters = copy.deepcopy(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    return request.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)


def packed(position: Position | None) -> bytes | None:
    """A position as a token holds it, to the microsecond."""
    if position is None:
        return None
    microseconds = (position.time - _EPOCH) // timedelta(microseconds=1)
    return _POSITION.pack(microseconds, position.id.bytes)


def unpacked(place: bytes | None) -> Position | None:
    if place is None:
        return None
    microseconds, row_id = _POSITION.unpack(place)
    return Position(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=row_id))
