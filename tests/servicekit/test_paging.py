"""Page tokens of any place: they come back as they were, and only with the key and in the list they are of."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.paging import NotAToken, PageTokens, keyed, listing

TOKENS = PageTokens(keyed(b"one key"))


@given(st.binary(), st.binary())
def test_a_token_gives_back_its_place_and_stands_in_a_url_as_it_is(place: bytes, of: bytes) -> None:
    token = TOKENS.write(place, of)
    assert TOKENS.read(token, of) == place
    assert quote(token, safe="") == token


def test_no_token_is_the_beginning_and_no_place_is_the_end() -> None:
    assert TOKENS.read("", b"") is None
    assert TOKENS.write(None, b"") == ""


def test_a_token_of_another_key_or_of_another_list_is_refused() -> None:
    token = TOKENS.write(b"here", b"list")
    for tokens, of in ((PageTokens(keyed(b"other key")), b"list"), (TOKENS, b"other"), (TOKENS, b"listhere")):
        with pytest.raises(NotAToken):
            tokens.read(token, of)


@given(st.text(min_size=1))
def test_what_was_never_written_is_refused(token: str) -> None:
    with pytest.raises(NotAToken):
        TOKENS.read(token, b"list")


@pytest.mark.parametrize("spelt", ["{}=", "{}\n", " {}", "{}A", "{}AAAA"])
def test_there_is_one_spelling_of_a_token(spelt: str) -> None:
    for place in (b"", b"a", b"ab", b"abc"):
        with pytest.raises(NotAToken):
            TOKENS.read(spelt.format(TOKENS.write(place, b"list")), b"list")


def test_a_list_is_the_same_on_every_page_and_another_with_other_filters() -> None:
    asked = pb.ListConnectorsRequest(account_name="a")
    assert listing(asked) == listing(pb.ListConnectorsRequest(account_name="a", page_size=7, page_token="t"))  # noqa: S106
    assert listing(asked) != listing(pb.ListConnectorsRequest(account_name="b"))
    assert listing(pb.ListAccountsRequest()) != listing(pb.ListExchangesRequest())
