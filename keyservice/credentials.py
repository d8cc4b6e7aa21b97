"""Credentials as custody keeps them: by column, with a hint for people and an identity for their fingerprint."""

import json
from collections.abc import Mapping
from typing import Final

from servicekit.credentials import Credentials

# The columns that hold one sealed value each.
FIELDS: Final = ("api_key", "api_secret", "passphrase", "extra")

_HINT_LENGTH = 4
# A hint of a short key would be a good part of it.
_SHORTEST_HINTED = 3 * _HINT_LENGTH


def hint(credentials: Credentials) -> str:
    """The last four characters of the api key, for people to recognise it by."""
    key = credentials.api_key
    return key[-_HINT_LENGTH:] if len(key) >= _SHORTEST_HINTED else ""


def identity(credentials: Credentials) -> bytes | None:
    """What makes two sets of credentials the same key: the api key, or everything where there is none."""
    if credentials.api_key:
        return credentials.api_key.encode()
    given = dict(credentials.named())
    return json.dumps(given, sort_keys=True).encode() if given else None


def columns(credentials: Credentials) -> dict[str, bytes]:
    """What is to be sealed, by column; absent credentials have none."""
    values = {name: value.encode() for name, value in credentials.named() if name not in credentials.extra}
    extra = {name: value for name, value in credentials.extra.items() if value}
    return values | ({"extra": json.dumps(extra, sort_keys=True).encode()} if extra else {})


def from_columns(opened: Mapping[str, bytes]) -> Credentials:
    """The reverse of ``columns``."""
    values = {name: value.decode() for name, value in opened.items()}
    extra = json.loads(values.pop("extra", "{}"))
    return Credentials(extra=extra, **values)
