"""The keys that tokens may be signed with: a JWKS file (RFC 7517), of public keys only.

Each key takes the one algorithm that belongs to its type, whatever a token says of itself.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError

_ALGORITHMS: Final[Mapping[object, str]] = {
    ("OKP", "Ed25519"): "EdDSA",
    ("EC", "P-256"): "ES256",
    ("RSA", None): "RS256",
}
_TEXTS: Final = ("kty", "crv", "use", "alg", "kid")
_LEAST_RSA_BITS: Final = 2048
# The private part of an asymmetric key, and the whole of a symmetric one.
_SECRET_PARTS: Final = {"d", "k"}


class TokenKeys:
    """The keys by their ids."""

    def __init__(self, keys: Mapping[str | None, PyJWK]) -> None:
        self._keys = keys

    @classmethod
    def read(cls, text: str) -> "TokenKeys":
        """Those of a JWKS that can be used here; a ValueError where there is none, or where a secret is among them."""
        found = json.loads(text)
        listed = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ValueError('it should be a JSON object with a list of "keys"')
        keys: dict[str | None, PyJWK] = {}
        for each in listed:
            if not all(isinstance(each.get(name, ""), str) for name in _TEXTS):
                raise ValueError(f"the {', '.join(_TEXTS)} of a key should be text")
            if _SECRET_PARTS & each.keys():
                raise ValueError("it holds a key with its secret part, which does not belong there")
            if (algorithm := _algorithm(each)) is None:
                continue
            key = _key(each, algorithm)
            if key.key_id in keys:
                raise ValueError("two of its keys have the same kid, or none")
            keys[key.key_id] = key
        if not keys:
            raise ValueError(f"it has no signing key for {', '.join(_ALGORITHMS.values())}")
        return cls(keys)

    def find(self, key_id: str | None) -> PyJWK | None:
        """The key that a token names. One that names none means the only one, if there is only one."""
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)


def _algorithm(key: Mapping[str, Any]) -> str | None:
    """What a key signs with here; None where it is for something else, as a provider's other keys are."""
    found = _ALGORITHMS.get((key.get("kty"), key.get("crv")))
    if key.get("use", "sig") != "sig" or key.get("alg", found) != found:
        return None
    return found


def _key(key: Mapping[str, Any], algorithm: str) -> PyJWK:
    try:
        made = PyJWK(dict(key), algorithm)
    except PyJWTError:
        raise ValueError(f"a key for {algorithm} is malformed") from None
    if isinstance(made.key, RSAPublicKey) and made.key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"an RSA key has {made.key.key_size} bits; at least {_LEAST_RSA_BITS} are needed")
    return made
