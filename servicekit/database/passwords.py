"""Passwords of database accounts: PostgreSQL is told what it keeps of one, so that no log of its ever has it."""

import base64
import hashlib
import hmac
import secrets
from typing import Final

from servicekit.errors import SettingsError

_ITERATIONS: Final = 4096
_SALT_BYTES: Final = 16


def verifier(password: str) -> str:
    """By which PostgreSQL recognises a password (SCRAM-SHA-256, RFC 5803); it holds no character to be quoted."""
    if not password or not password.isascii() or not password.isprintable():
        # Others would have to be normalised, by the very rules that the driver follows.
        raise SettingsError("The password is empty, or has characters that are not printable ASCII.")
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${_ITERATIONS}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
