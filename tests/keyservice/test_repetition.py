"""Claims: what is stored of a request id tells requests apart, and shows nothing of them."""

import secrets
from uuid import uuid4

from keyservice.keyring import Keyring
from keyservice.records import Caller
from keyservice.repetition import Repetition, claim
from keyservice.sealing import MasterKey

KEYRING = Keyring([MasterKey(MasterKey.generate())], index_key=secrets.token_bytes(32))
ADA = Caller("ada")


def test_without_a_request_id_there_is_no_claim() -> None:
    assert claim(KEYRING, ADA, None) is None


def test_a_claim_is_the_same_for_the_same_request_only() -> None:
    request_id, body = uuid4(), secrets.token_bytes(64)
    first = claim(KEYRING, ADA, Repetition("AddApiKey", request_id, body))
    assert first is not None
    assert first == claim(KEYRING, ADA, Repetition("AddApiKey", request_id, body))
    assert (first.principal, first.method, first.request_id) == ("ada", "AddApiKey", request_id)
    for caller, repetition in (
        (Caller("bob"), Repetition("AddApiKey", request_id, body)),
        (ADA, Repetition("RotateApiKey", request_id, body)),
        (ADA, Repetition("AddApiKey", uuid4(), body)),
        (ADA, Repetition("AddApiKey", request_id, body + b"\0")),
    ):
        assert claim(KEYRING, caller, repetition) != first


def test_the_hmac_needs_the_index_key() -> None:
    other = Keyring([KEYRING.current], index_key=secrets.token_bytes(32))
    repetition = Repetition("AddApiKey", uuid4(), b"a body")
    ours, theirs = claim(KEYRING, ADA, repetition), claim(other, ADA, repetition)
    assert ours is not None
    assert theirs is not None
    assert ours.body_hmac != theirs.body_hmac


def test_the_body_is_not_printed() -> None:
    secret = secrets.token_hex(16)
    assert secret not in repr(Repetition("AddApiKey", uuid4(), secret.encode()))
