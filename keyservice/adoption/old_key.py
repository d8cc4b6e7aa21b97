"""The one key of an old database, and what its tokens hold: one of three places that open secrets."""

from collections.abc import Mapping
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from keyservice.credentials import from_columns, hint
from keyservice.sealing import MalformedKey, MasterKey
from servicekit.credentials import Credentials
from servicekit.errors import SettingsError


class NotReadable(Exception):
    """A row's tokens do not open, or hold no text. Says nothing of what they hold."""


class OldKey:
    """Opens plain Fernet tokens. Its id names it in the record without showing it."""

    __slots__ = ("_fernet", "id")

    def __init__(self, encoded: SecretStr) -> None:
        key = encoded.get_secret_value().strip()
        try:
            self.id: Final = MasterKey(key).key_id
        except MalformedKey as error:
            raise SettingsError(f"The old database's encryption key is malformed: {error}.") from None
        self._fernet: Final = Fernet(key)

    def __repr__(self) -> str:
        return f"<OldKey {self.id}>"

    def opens_any(self, tokens: Mapping[str, str | None]) -> bool:
        """Whether one of a row's tokens is this key's."""
        return any(self._opened(token) is not None for token in tokens.values() if token)

    def open(self, tokens: Mapping[str, str | None]) -> Credentials:
        """All of a row's credentials; ``NotReadable`` unless every token opens."""
        values = {}
        for name, token in tokens.items():
            if token is None:
                continue
            opened = self._opened(token)
            if opened is None:
                raise NotReadable
            values[name] = opened
        return from_columns(values)

    def _opened(self, token: str) -> bytes | None:
        """What a token holds; None if that is not for us, or can't have been a credential."""
        try:
            value = self._fernet.decrypt(token.encode())
            value.decode()
        except (InvalidToken, UnicodeDecodeError):
            return None
        return value


def with_white_space(credentials: Credentials) -> list[str]:
    """The credentials that begin or end with white space, which an exchange will hardly have issued."""
    return [name for name, value in credentials.named() if value != value.strip()]


def trimmed_hint(credentials: Credentials) -> str:
    """The hint, without the newline that may have been pasted with the key."""
    return hint(Credentials(api_key=credentials.api_key.strip()))
