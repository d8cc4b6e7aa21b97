"""Page tokens of KeyService: the place in a list is a position, and the key is the keyring's."""

from keyservice.keyring import Keyring
from servicekit import paging
from servicekit.paging import NotAToken, Position

__all__ = ["NotAToken", "PageTokens"]


class PageTokens:
    """Writes and reads tokens, as ``servicekit.paging`` does, for positions."""

    def __init__(self, keyring: Keyring) -> None:
        self._tokens = paging.PageTokens(lambda listing, place: keyring.mac("page token", listing, place))

    def write(self, position: Position | None, listing: bytes) -> str:
        return self._tokens.write(paging.packed(position), listing)

    def read(self, token: str, listing: bytes) -> Position | None:
        return paging.unpacked(self._tokens.read(token, listing))
