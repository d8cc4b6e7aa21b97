"""Sealing: how one value is made unreadable, and bound to the place that it belongs to.

Each ciphertext has a key of its own, derived from a master key and the value's context. So a token that was moved to
another client, row, field or version of the secrets does not open, which Fernet alone would allow.
"""

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32


class NotOpened(Exception):
    """A token does not open here: another key, another place, or damage. Says nothing of its content."""


class MalformedKey(Exception):
    """What was given is not 32 bytes in URL-safe base64; the sentence says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Context:
    """The place that a sealed value belongs to."""

    client_id: UUID
    row_id: UUID
    field: str
    secret_version: int

    def info(self) -> bytes:
        """Each part with its length before it, so that no two contexts give the same bytes."""
        parts = (
            self.client_id.bytes,
            self.row_id.bytes,
            self.field.encode(),
            str(self.secret_version).encode(),
        )
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class MasterKey:
    """One master key: seals and opens, and can be recognised without being shown."""

    __slots__ = ("_secret", "key_id")

    def __init__(self, encoded: str) -> None:
        self._secret: Final = _decoded(encoded)
        self.key_id: Final = self._derive(b"keybridge key id").hex()[:16]
        """Names the key in rows, logs and sentences."""

    @classmethod
    def generate(cls) -> str:
        """A new master key, encoded: Fernet's own form, so that its tools make them too."""
        return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()

    def __repr__(self) -> str:
        return f"<MasterKey {self.key_id}>"

    def check_value(self) -> str:
        """What the database remembers of the key, to tell it from another one that claims its id."""
        return self._derive(b"keybridge check value").hex()

    def seal(self, value: bytes, context: Context) -> str:
        return self._fernet(context).encrypt(value).decode()

    def open(self, token: str, context: Context) -> bytes:
        """The value; ``NotOpened`` unless this key sealed it for this very context."""
        raw = token.encode()
        try:
            value = self._fernet(context).decrypt(raw)
        except InvalidToken:
            raise NotOpened from None
        if not _is_canonical(raw):
            raise NotOpened
        return value

    def _fernet(self, context: Context) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(self._derive(b"keybridge seal" + context.info())))

    def _derive(self, info: bytes) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._secret)


def fingerprint(index_key: bytes, *parts: bytes) -> bytes:
    """An HMAC by which equal values are found without being readable."""
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(index_key, body, sha256).digest()


def _is_canonical(token: bytes) -> bool:
    """Whether it is the one spelling of its bytes: Fernet reads base64 loosely, changed tokens too."""
    return base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)) == token


def _decoded(encoded: str) -> bytes:
    if not encoded:
        raise MalformedKey("it is empty")
    try:
        key = base64.b64decode(encoded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise MalformedKey("it is not URL-safe base64; it may have been cut or changed in copying") from None
    if len(key) != KEY_BYTES:
        raise MalformedKey(
            f"it holds {len(key)} bytes instead of {KEY_BYTES}; it may have been cut in copying"
        )
    return key
