"""Credentials in the clear: nothing prints, copies or shares them by accident."""

import copy
import pickle
import secrets

import pytest

from servicekit.credentials import Credentials


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
