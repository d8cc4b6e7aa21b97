"""Keys that tokens may be signed with, as providers write them."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from servicekit.rpc.jwks import TokenKeys
from tests.support.issuer import Issuer, jwk, new_key


def read(*keys: dict[str, Any]) -> TokenKeys:
    return TokenKeys.read(json.dumps({"keys": keys}))


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_key_takes_the_algorithm_of_its_type(algorithm: str) -> None:
    issuer = Issuer(algorithm)
    for written in (issuer.jwk, issuer.jwk | {"use": "sig", "alg": algorithm}):
        found = read(written).find(issuer.key_id)
        assert found is not None
        assert found.algorithm_name == algorithm


def test_a_token_that_names_no_key_means_the_only_one() -> None:
    one, other = Issuer(), Issuer("ES256")
    assert read(one.jwk).find(None) is not None
    assert read(one.jwk, other.jwk).find(None) is None
    assert read(one.jwk).find("unknown") is None


def test_keys_for_other_purposes_are_passed_over() -> None:
    issuer = Issuer()
    others = [
        jwk(new_key("RS256")) | {"kid": "a", "use": "enc"},
        jwk(new_key("RS256")) | {"kid": "b", "alg": "RS512"},
        dict(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True))
        | {"kid": "c"},
        {"kty": "new", "kid": "d"},
    ]
    keys = read(*others, issuer.jwk)
    assert [keys.find(each["kid"]) for each in others] == [None] * 4
    assert keys.find(issuer.key_id) is not None
    with pytest.raises(ValueError, match="it has no signing key for EdDSA, ES256, RS256"):
        read(*others)


def test_a_secret_key_in_the_file_is_refused_and_never_shown() -> None:
    private = dict(OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True))
    for secret in (private, {"kty": "oct", "k": private["d"]}):
        with pytest.raises(ValueError, match="it holds a key with its secret part") as caught:
            read(Issuer().jwk, secret)
        assert private["d"] not in str(caught.value)


def test_a_short_rsa_key_is_refused() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    with pytest.raises(ValueError, match="an RSA key has 1024 bits; at least 2048 are needed"):
        read(jwk(short))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Expecting value"),
        ("[]", 'a JSON object with a list of "keys"'),
        ('{"keys": {}}', 'a JSON object with a list of "keys"'),
        ('{"keys": [1]}', 'a JSON object with a list of "keys"'),
        ('{"keys": []}', "it has no signing key"),
        ('{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "!"}]}', "a key for EdDSA is malformed"),
        ('{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": 1}]}', "of a key should be text"),
        ('{"keys": [{"kty": ["OKP"]}]}', "of a key should be text"),
    ],
)
def test_what_is_no_set_of_keys_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TokenKeys.read(text)


def test_two_keys_of_one_name_are_refused() -> None:
    issuer = Issuer()
    with pytest.raises(ValueError, match="two of its keys have the same kid"):
        read(issuer.jwk, issuer.jwk)
