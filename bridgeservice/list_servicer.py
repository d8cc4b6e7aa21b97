"""What the methods that list something share: where in a list a page token points."""

from google.protobuf.message import Message

from bridgeservice.validation import Checks
from servicekit import paging
from servicekit.paging import NotAToken, PageTokens


class ListServicer:
    """The part of ``BridgeServicer`` that knows page tokens."""

    _tokens: PageTokens

    def _place(self, check: Checks, request: Message, token: str) -> tuple[bytes, bytes | None]:
        """The list that is asked for, without regard to pages, and where in it to go on."""
        listing = paging.listing(request)
        try:
            return listing, self._tokens.read(token, listing)
        except NotAToken:
            check.add("page_token", "is not a token of this list with these filters; begin without one")
            return listing, None

    def _name(self, check: Checks, request: Message, token: str) -> tuple[bytes, str | None]:
        """The same for a list that is sorted by names."""
        listing, place = self._place(check, request, token)
        return listing, None if place is None else place.decode()

    def _next(self, name: str | None, listing: bytes) -> str:
        return self._tokens.write(None if name is None else name.encode(), listing)
