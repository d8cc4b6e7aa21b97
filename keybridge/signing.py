"""The key that tokens are signed with, and the tokens: an Ed25519 key of our own, or one that somebody brings."""

import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.types import Options

from servicekit.errors import SettingsError

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

# What of a public key its id is made of (RFC 7638).
_THUMBPRINT = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}


@dataclass(frozen=True, slots=True)
class Order:
    """What a token is to say."""

    subject: str
    role: str
    clients: Sequence[str] | None
    """None means all."""
    audience: Sequence[str]
    issuer: str
    lasts: timedelta


@dataclass(frozen=True, slots=True)
class Minted:
    """A token, and what is needed to speak of it without showing it."""

    token: str
    token_id: str
    expires: datetime


class SigningKey:
    """Signs tokens, and says what services need to check them."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.algorithm, public = _public(key)
        self.key_id = _thumbprint(public)
        self._jwk = public | {"kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    @classmethod
    def load(cls, file: Path) -> "SigningKey":
        try:
            key = load_pem_private_key(file.read_bytes(), password=None)
        except OSError as error:
            raise SettingsError(f"The signing key {file} can't be read: {error.strerror}.") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The library's own words may quote the file.
            raise SettingsError(f"{file} is not a private key in PEM without a password.") from None
        if isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, SECP256R1):
            raise SettingsError(f"The key in {file} is of the curve {key.curve.name}; P-256 is needed.")
        if not isinstance(key, PrivateKey):
            raise SettingsError(f"The key in {file} should be of Ed25519, P-256 or RSA.")
        return cls(key)

    @property
    def jwks(self) -> str:
        """The public key as a JWKS file."""
        return json.dumps({"keys": [self._jwk]}, indent=2) + "\n"

    def mint(self, order: Order, now: datetime) -> Minted:
        """A token that says so. What no service would take is refused here."""
        # Imported here, because it loads gRPC, which `up` does without for as long as all its tokens are good.
        from servicekit.rpc import grants

        clients = grants.ALL if order.clients is None else list(order.clients)
        try:
            grants.principal(order.subject, order.role, clients)
        except grants.NotAGrantError as error:
            raise SettingsError(f"No such token can be made: {error}.") from None
        issued = now.replace(microsecond=0)
        token_id, expires = secrets.token_urlsafe(12), issued + order.lasts
        claims = {
            "iss": order.issuer,
            "aud": list(order.audience),
            "sub": order.subject,
            "role": order.role,
            "clients": clients,
            "jti": token_id,
            "iat": issued,
            "exp": expires,
        }
        token = jwt.encode(claims, self._key, self.algorithm, {"kid": self.key_id})
        return Minted(token, token_id, expires)

    def read(self, token: str) -> dict[str, Any] | None:
        """What a token of this key says, be it expired or not; None where it is none."""
        unchecked: Options = {
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": False,
        }
        try:
            return jwt.decode(token, self._key.public_key(), [self.algorithm], unchecked)
        except jwt.PyJWTError:
            return None


def new_key() -> str:
    """A new private key, as PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(key: PrivateKey) -> tuple[str, dict[str, Any]]:
    """The algorithm that belongs to a key, and its public part as a JWK."""
    if isinstance(key, Ed25519PrivateKey):
        return "EdDSA", OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    if isinstance(key, RSAPrivateKey):
        return "RS256", RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return "ES256", ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


def _thumbprint(public: dict[str, Any]) -> str:
    parts = {name: public[name] for name in _THUMBPRINT[public["kty"]]}
    written = json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()
    return urlsafe_b64encode(sha256(written).digest()).rstrip(b"=").decode()
