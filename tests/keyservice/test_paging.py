"""Page tokens: they give back the place that they were made for, and only in the list that they were made in."""

import base64
import string
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.keyring import Keyring
from keyservice.paging import NotAToken, PageTokens
from keyservice.sealing import MasterKey
from servicekit.paging import Position

KEYRING = Keyring([MasterKey(MasterKey.generate())], index_key=uuid4().bytes * 2)
TOKENS = PageTokens(KEYRING)
LISTING = b"the list"
HERE = Position(datetime(2026, 11, 21, 10, 37, 0, 123456, tzinfo=UTC), uuid4())

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@given(moments, st.uuids(), st.binary())
def test_a_token_gives_back_its_place_to_the_microsecond(
    moment: datetime, row_id: UUID, listing: bytes
) -> None:
    position = Position(moment, row_id)
    assert TOKENS.read(TOKENS.write(position, listing), listing) == position


def test_no_token_is_the_beginning_and_no_place_is_the_end() -> None:
    assert TOKENS.read("", LISTING) is None
    assert TOKENS.write(None, LISTING) == ""


def test_a_token_can_stand_in_a_url_as_it_is() -> None:
    token = TOKENS.write(HERE, LISTING)
    assert quote(token, safe="") == token


def test_a_token_of_another_list_is_refused() -> None:
    token = TOKENS.write(HERE, LISTING)
    for other in (b"", b"another list", LISTING + b" "):
        with pytest.raises(NotAToken):
            TOKENS.read(token, other)


def test_a_token_of_another_database_is_refused() -> None:
    other = PageTokens(Keyring([KEYRING.current], index_key=uuid4().bytes * 2))
    with pytest.raises(NotAToken):
        TOKENS.read(other.write(HERE, LISTING), LISTING)


def test_every_change_of_every_character_is_refused() -> None:
    token = TOKENS.write(HERE, LISTING)
    characters = {chr(code) for code in range(32, 127)} | {"é", "\0", "\n"}
    for place, right in enumerate(token):
        for wrong in characters - {right}:
            with pytest.raises(NotAToken):
                TOKENS.read(token[:place] + wrong + token[place + 1 :], LISTING)


@pytest.mark.parametrize("spelt", ["{}=", "{}==", "{}\n", " {}", "{}A", "{}AAAA"])
def test_there_is_one_spelling_of_a_token(spelt: str) -> None:
    with pytest.raises(NotAToken):
        TOKENS.read(spelt.format(TOKENS.write(HERE, LISTING)), LISTING)


def test_a_part_of_a_token_is_refused() -> None:
    token = TOKENS.write(HERE, LISTING)
    for length in range(1, len(token)):
        with pytest.raises(NotAToken):
            TOKENS.read(token[:length], LISTING)


@given(
    st.text(string.printable, min_size=1)
    | st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_what_was_never_written_is_refused(token: str) -> None:
    with pytest.raises(NotAToken):
        TOKENS.read(token, LISTING)
