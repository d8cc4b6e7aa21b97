"""Credentials by column: they survive it, and are recognised by a hint that tells little."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.credentials import FIELDS, columns, from_columns, hint, identity
from servicekit.credentials import Credentials
from servicekit.validation import EXTRA_CREDENTIALS

values = st.text(st.characters(exclude_categories=["Cs"]))
some_credentials = st.builds(
    Credentials,
    api_key=values,
    api_secret=values,
    passphrase=values,
    extra=st.dictionaries(st.sampled_from(EXTRA_CREDENTIALS), values),
)


@given(some_credentials)
def test_the_columns_give_back_what_was_given(credentials: Credentials) -> None:
    sealed = columns(credentials)
    assert sealed.keys() <= set(FIELDS)
    assert all(sealed.values())
    back = from_columns(sealed)
    assert dict(back.named()) == dict(credentials.named())
    assert columns(back) == sealed
    assert (hint(back), identity(back)) == (hint(credentials), identity(credentials))


def test_absent_credentials_have_no_column() -> None:
    assert columns(Credentials()) == {}
    assert columns(Credentials(api_secret="s")) == {"api_secret": b"s"}  # noqa: S106 - one letter
    assert columns(Credentials(extra={"uid": "", "login": "me"})) == {"extra": b'{"login": "me"}'}


@pytest.mark.parametrize(
    ("api_key", "told"),
    [("", ""), ("k" * 11, ""), ("12345678abcd", "abcd"), ("ключ-биржи-😀😀😀", "-😀😀😀")],
)
def test_the_hint_is_four_characters_of_a_key_of_which_that_is_little(api_key: str, told: str) -> None:
    assert hint(Credentials(api_key=api_key)) == told


def test_the_identity_is_the_api_key_whatever_goes_with_it() -> None:
    key = secrets.token_hex(8)
    one = Credentials(api_key=key, api_secret=secrets.token_hex(8))
    other = Credentials(api_key=key, passphrase=secrets.token_hex(8), extra={"uid": "7"})
    assert identity(one) == identity(other) == key.encode()


def test_without_an_api_key_the_identity_is_everything_in_any_order() -> None:
    one = Credentials(extra={"privateKey": "p", "walletAddress": "w"})
    other = Credentials(extra={"walletAddress": "w", "privateKey": "p", "uid": ""})
    assert identity(one) == identity(other)
    assert identity(one) != identity(Credentials(extra={"privateKey": "w", "walletAddress": "p"}))
    assert identity(Credentials()) is None
