"""Credentials in the clear: they survive their columns, and nothing prints them by accident."""

import copy
import pickle
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.validation import EXTRA_CREDENTIALS
from servicekit.credentials import FIELDS, Credentials

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
    columns = credentials.columns()
    assert columns.keys() <= set(FIELDS)
    assert all(columns.values())
    back = Credentials.from_columns(columns)
    assert dict(back.named()) == dict(credentials.named())
    assert back.columns() == columns
    assert (back.hint(), back.identity()) == (credentials.hint(), credentials.identity())


def test_absent_credentials_have_no_column() -> None:
    assert Credentials().columns() == {}
    assert Credentials(api_secret="s").columns() == {"api_secret": b"s"}  # noqa: S106 - one letter
    assert Credentials(extra={"uid": "", "login": "me"}).columns() == {"extra": b'{"login": "me"}'}


@pytest.mark.parametrize(
    ("api_key", "hint"),
    [("", ""), ("k" * 11, ""), ("12345678abcd", "abcd"), ("ключ-биржи-😀😀😀", "-😀😀😀")],
)
def test_the_hint_is_four_characters_of_a_key_of_which_that_is_little(api_key: str, hint: str) -> None:
    assert Credentials(api_key=api_key).hint() == hint


def test_the_identity_is_the_api_key_whatever_goes_with_it() -> None:
    key = secrets.token_hex(8)
    one = Credentials(api_key=key, api_secret=secrets.token_hex(8))
    other = Credentials(api_key=key, passphrase=secrets.token_hex(8), extra={"uid": "7"})
    assert one.identity() == other.identity() == key.encode()


def test_without_an_api_key_the_identity_is_everything_in_any_order() -> None:
    one = Credentials(extra={"privateKey": "p", "walletAddress": "w"})
    other = Credentials(extra={"walletAddress": "w", "privateKey": "p", "uid": ""})
    assert one.identity() == other.identity()
    assert one.identity() != Credentials(extra={"privateKey": "w", "walletAddress": "p"}).identity()
    assert Credentials().identity() is None


def test_they_are_not_printed_pickled_or_shared() -> None:
    secret = secrets.token_hex(8)
    given_extra = {"uid": secret}
    credentials = Credentials(api_key=secret, extra=given_extra)
    assert f"{credentials} {credentials!r} {[credentials]}" == ("<Credentials> <Credentials> [<Credentials>]")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credentials)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(credentials)
    given_extra.clear()
    assert dict(credentials.named()) == {"api_key": secret, "uid": secret}
