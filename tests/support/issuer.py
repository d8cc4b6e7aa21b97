"""An issuer of tokens for tests: it signs with keys made at run time, and says what services need to check them."""

import json
import secrets
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

AUDIENCES = ("keyservice", "bridgeservice")
_HOUR = timedelta(hours=1).total_seconds()


class Issuer:
    """Signs tokens with one key, of the type that belongs to an algorithm."""

    def __init__(self, algorithm: str = "EdDSA", key: PrivateKey | None = None) -> None:
        self.algorithm = algorithm
        self.key_id = secrets.token_hex(8)
        self._key = key or new_key(algorithm)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as an entry of a JWKS."""
        return jwk(self._key) | {"kid": self.key_id}

    @property
    def public_pem(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def write(self, jwks_file: Path, *others: "Issuer") -> None:
        """The JWKS of this issuer, and of others beside it."""
        jwks_file.write_text(json.dumps({"keys": [each.jwk for each in (self, *others)]}))

    def token(
        self, *, headers: dict[str, Any] | None = None, without: tuple[str, ...] = (), **claims: Any
    ) -> str:
        """A token of an admin of all clients, good for an hour, but for what is said otherwise."""
        payload = {name: value for name, value in (_claims() | claims).items() if name not in without}
        return jwt.encode(payload, self._key, self.algorithm, {"kid": self.key_id} | (headers or {}))

    def unsigned(self, **claims: Any) -> str:
        """The same with the algorithm "none"."""
        return jwt.encode(_claims() | claims, "", "none", {"kid": self.key_id})

    def swapped(self, **claims: Any) -> str:
        """The same as if the public key, which everybody may have, were a secret shared with the service."""
        # Not through the library, which refuses to sign so.
        header = {"alg": "HS256", "typ": "JWT", "kid": self.key_id}
        hmac = jwt.get_algorithm_by_name("HS256")
        parts = [_encoded(json.dumps(each).encode()) for each in (header, _claims() | claims)]
        return ".".join([*parts, _encoded(hmac.sign(".".join(parts).encode(), self.public_pem))])


def new_key(algorithm: str) -> PrivateKey:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Ed25519PrivateKey.generate()


def jwk(key: PrivateKey) -> dict[str, Any]:
    if isinstance(key, Ed25519PrivateKey):
        return dict(OKPAlgorithm.to_jwk(key.public_key(), as_dict=True))
    if isinstance(key, rsa.RSAPrivateKey):
        return dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))
    return dict(ECAlgorithm.to_jwk(key.public_key(), as_dict=True))


def tampered(token: str) -> str:
    """The same token with a signature that somebody has changed."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def bearing(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that brings a token."""
    return (("authorization", f"Bearer {token}"),)


def _claims() -> dict[str, Any]:
    now = int(time())
    return {
        "iss": "keybridge",
        "aud": list(AUDIENCES),
        "sub": "somebody",
        "role": "admin",
        "clients": "*",
        "jti": secrets.token_hex(8),
        "iat": now,
        "exp": now + int(_HOUR),
    }


def _encoded(raw: bytes) -> str:
    return jwt.utils.base64url_encode(raw).decode()
