"""Page tokens of KeyService: the place in a list is a row's time and id, and the key is the keyring's."""

import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from keyservice.keyring import Keyring
from keyservice.records import Position
from servicekit import paging
from servicekit.paging import NotAToken

__all__ = ["NotAToken", "PageTokens"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")


class PageTokens:
    """Writes and reads tokens, as ``servicekit.paging`` does, for positions."""

    def __init__(self, keyring: Keyring) -> None:
        self._tokens = paging.PageTokens(lambda listing, place: keyring.mac("page token", listing, place))

    def write(self, position: Position | None, listing: bytes) -> str:
        if position is None:
            return ""
        microseconds = (position.created_at - _EPOCH) // timedelta(microseconds=1)
        return self._tokens.write(_POSITION.pack(microseconds, position.id.bytes), listing)

    def read(self, token: str, listing: bytes) -> Position | None:
        place = self._tokens.read(token, listing)
        if place is None:
            return None
        microseconds, row_id = _POSITION.unpack(place)
        return Position(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=row_id))
