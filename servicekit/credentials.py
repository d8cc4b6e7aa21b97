"""Credentials in the clear: a type that cannot be printed, compared or copied into a log by accident."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

# The columns that hold one sealed value each.
FIELDS: Final = ("api_key", "api_secret", "passphrase", "extra")

_HINT_LENGTH = 4
# A hint of a short key would be a good part of it.
_SHORTEST_HINTED = 3 * _HINT_LENGTH


class Credentials:
    """What an exchange gave its customer. Held as briefly as possible, and only where it is sealed or pushed."""

    __slots__ = ("api_key", "api_secret", "extra", "passphrase")

    def __init__(
        self,
        *,
        api_key: str = "",
        api_secret: str = "",
        passphrase: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.api_key: Final = api_key
        self.api_secret: Final = api_secret
        self.passphrase: Final = passphrase
        self.extra: Final = dict(extra or {})

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce__(self) -> str:
        raise TypeError("credentials are not pickled")

    def named(self) -> Iterator[tuple[str, str]]:
        """Each credential that is there, by the name that an exchange's requirements use for it."""
        for name in ("api_key", "api_secret", "passphrase"):
            value: str = getattr(self, name)
            if value:
                yield name, value
        yield from ((name, value) for name, value in sorted(self.extra.items()) if value)

    def hint(self) -> str:
        """The last four characters of the api key, for people to recognise it by."""
        return self.api_key[-_HINT_LENGTH:] if len(self.api_key) >= _SHORTEST_HINTED else ""

    def identity(self) -> bytes | None:
        """What makes two sets of credentials the same key: the api key, or everything where there is none."""
        if self.api_key:
            return self.api_key.encode()
        given = dict(self.named())
        return json.dumps(given, sort_keys=True).encode() if given else None

    def columns(self) -> dict[str, bytes]:
        """What is to be sealed, by column; absent credentials have none."""
        values = {name: value.encode() for name, value in self.named() if name not in self.extra}
        extra = {name: value for name, value in self.extra.items() if value}
        return values | ({"extra": json.dumps(extra, sort_keys=True).encode()} if extra else {})

    @classmethod
    def from_columns(cls, columns: Mapping[str, bytes]) -> "Credentials":
        """The reverse of ``columns``."""
        values = {name: value.decode() for name, value in columns.items()}
        extra = json.loads(values.pop("extra", "{}"))
        return cls(extra=extra, **values)
