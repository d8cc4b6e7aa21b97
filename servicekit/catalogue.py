"""The catalogue of exchanges: which ones there are, under which names, and what a key for each must bring.

``exchanges.json`` beside this file is generated from ccxt by ``bridgeservice.exchanges.catalogue``, so that
KeyService can validate a key without ccxt and without asking the bridge. ``paper``, our own, is in it.
"""

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PATH = Path(__file__).with_name("exchanges.json")

# No exchange's name comes near this; a longer one is noise, and comparing it would cost time.
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange that the bridge can serve."""

    id: str
    name: str
    """As the exchange writes itself, for people to read."""
    aliases: tuple[str, ...]
    """Old names; a key that carries one belongs to this exchange."""
    required_credentials: tuple[str, ...]
    """``api_key``, ``api_secret``, ``passphrase``, or the name of an entry in ``Credentials.extra``."""
    has_sandbox: bool

    def missing_credentials(self, given: Collection[str]) -> tuple[str, ...]:
        """The required credentials that are not among the names in ``given``, in the catalogue's order."""
        return tuple(name for name in self.required_credentials if name not in given)


class Catalogue:
    """The exchanges by name. Read once, where a service is put together, and never changed after."""

    def __init__(
        self, exchanges: Iterable[Exchange], *, retired: Mapping[str, str], ccxt_version: str
    ) -> None:
        self.ccxt_version = ccxt_version
        self.exchanges = tuple(exchanges)
        self._by_id = {exchange.id: exchange for exchange in self.exchanges}
        self._ids = {
            name: exchange.id for exchange in self.exchanges for name in (exchange.id, *exchange.aliases)
        }
        self.retired = dict(retired)

    @classmethod
    def load(cls) -> Self:
        """Read the catalogue that is shipped with the package."""
        return cls.parse(PATH.read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a catalogue in the form that the generator writes."""
        data: dict[str, Any] = json.loads(text)  # Any: JSON, and our own file
        return cls(
            (
                Exchange(
                    id=entry["id"],
                    name=entry["name"],
                    aliases=tuple(entry["aliases"]),
                    required_credentials=tuple(entry["required_credentials"]),
                    has_sandbox=entry["sandbox"],
                )
                for entry in data["exchanges"]
            ),
            retired={entry["id"]: entry["name"] for entry in data["retired"]},
            ccxt_version=data["ccxt"],
        )

    def find(self, name: str) -> Exchange | None:
        """The exchange of that name or old name, however its letters are cased; None when we serve none."""
        return self._by_id.get(self.canonical(name))

    def canonical(self, name: str) -> str:
        """The name to store: lower case, an old name replaced by the present one.

        A name that the catalogue does not know stays what it is: rows of exchanges that are gone keep theirs.
        """
        lowered = name.lower()
        return self._ids.get(lowered, lowered)

    def retired_name(self, name: str) -> str | None:
        """What an exchange that can no longer be served was called; None for every other name."""
        return self.retired.get(name.lower())

    def nearest(self, name: str, n: int = 3) -> list[str]:
        """At most ``n`` ids that begin or look like ``name``, best first, for a message to suggest."""
        lowered = name.lower()
        if not lowered or len(lowered) > _LONGEST_NAME:
            return []
        alike = difflib.get_close_matches(lowered, self._ids, n=len(self._ids))
        begun = sorted((known for known in self._ids if known.startswith(lowered)), key=len)
        return list(dict.fromkeys(self._ids[known] for known in (*begun, *alike)))[:n]
