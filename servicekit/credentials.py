"""Credentials in the clear: a type that cannot be printed, compared or copied into a log by accident."""

from collections.abc import Iterator, Mapping
from typing import Final


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
