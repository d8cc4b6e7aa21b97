"""Page tokens: opaque, authenticated, and good for the list and the filters that they were made for only."""

import base64
import struct
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from uuid import UUID

from keyservice.keyring import Keyring
from keyservice.records import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")
# With these no token needs padding.
_MAC_BYTES = 18


class NotAToken(Exception):
    """The text is no token of ours, or one of another list or other filters."""


class PageTokens:
    """Writes and reads tokens. ``listing`` is the method and its filters, in any form that is always the same."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def write(self, position: Position | None, listing: bytes) -> str:
        """The token behind which the list goes on; empty where it has come to its end."""
        if position is None:
            return ""
        microseconds = (position.created_at - _EPOCH) // timedelta(microseconds=1)
        return self._token(_POSITION.pack(microseconds, position.id.bytes), listing)

    def read(self, token: str, listing: bytes) -> Position | None:
        """Where the list goes on; None at its beginning."""
        if not token:
            return None
        try:
            body = base64.urlsafe_b64decode(token)[: _POSITION.size]
        except ValueError:
            raise NotAToken from None
        # The text is compared and not its bytes, because base64 has several spellings of them.
        if not compare_digest(token.encode(), self._token(body, listing).encode()):
            raise NotAToken
        microseconds, row_id = _POSITION.unpack(body)
        return Position(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=row_id))

    def _token(self, body: bytes, listing: bytes) -> str:
        mac = self._keyring.mac("page token", listing, body)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(body + mac).decode()
