"""What a request must look like before anything is done with it. Every violation is told at once."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import TypeVar
from uuid import UUID

from servicekit.catalogue import Catalogue, Exchange
from servicekit.credentials import Credentials
from servicekit.errors import InvalidArgument, Violation

LONGEST_CREDENTIAL = 4096
EXTRA_CREDENTIALS = ("accountId", "login", "privateKey", "token", "twofa", "uid", "walletAddress")

_NIL = UUID(int=0)
_CONTROL = ("Cc",)
# Formats such as a byte order mark, and separators of lines and paragraphs: nobody sees that they are there.
_INVISIBLE = ("Cf", "Zl", "Zp")

E = TypeVar("E", bound=Enum)


class Violations:
    """Collects what is wrong with one request. A check returns a value that is usable only if nothing was."""

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self._reasons: set[str | None] = set()

    def add(self, field: str, description: str, *, reason: str | None = None) -> None:
        """A ``reason`` tells programs more, and is the answer's where all that was found has the same."""
        self._found.append(Violation(field, description))
        self._reasons.add(reason)

    def refuse(self) -> None:
        """Raise everything that was found; nothing, if nothing was."""
        if self._found:
            reason = self._reasons.pop() if len(self._reasons) == 1 else None
            raise InvalidArgument(self._sentence(), violations=self._found, reason=reason)

    def _sentence(self) -> str:
        if len(self._found) == 1:
            return (
                f"The request is not valid: {ended(f'{self._found[0].field} {self._found[0].description}')}"
            )
        fields = ", ".join(dict.fromkeys(violation.field for violation in self._found))
        return f"The request is not valid: see {fields}."

    def id(self, field: str, value: str) -> UUID:
        """A UUID in its usual form of 36 characters."""
        parsed = self.optional_id(field, value)
        if parsed is None and not value:
            self.add(field, "is required")
        return parsed or _NIL

    def optional_id(self, field: str, value: str) -> UUID | None:
        if not value:
            return None
        parsed = parse_id(value)
        if parsed is None:
            self.add(field, "is not a UUID such as 123e4567-e89b-12d3-a456-426614174000")
        return parsed

    def text(self, field: str, value: str, *, longest: int, required: bool = False) -> str:
        """A line for people: no control or invisible characters, no white space around it."""
        if required and not value.strip():
            self.add(field, "is required")
        elif len(value) > longest:
            self.add(field, f"is {len(value)} characters long; at most {longest} are allowed")
        elif _has(value, _CONTROL):
            self.add(field, "has a control character, such as a newline or a tab, in it")
        elif _has(value, _INVISIBLE):
            self.add(
                field,
                "has an invisible character in it, such as a zero-width space or a mark of writing direction",
            )
        elif value != value.strip():
            self.add(field, "has white space at its beginning or end")
        return value

    def page_size(self, value: int) -> int:
        """How many rows a page has: 50 unless asked otherwise, 1,000 at the most."""
        if value < 0:
            self.add("page_size", "is negative; 0 stands for 50")
        return min(value or 50, 1000)

    def mask(self, paths: Sequence[str], given: Mapping[str, object]) -> frozenset[str]:
        """The fields to change, of those that can be; none named means those that have a value."""
        known = ", ".join(sorted(given))
        named = frozenset(paths or (field for field, value in given.items() if value))
        if named - given.keys():
            self.add("update_mask", f"names what can't be changed; the fields are {known}")
        elif not named:
            self.add(
                "update_mask", f"is empty, and none of the fields has a value; name those to change: {known}"
            )
        return named

    def exchange(self, field: str, name: str, catalogue: Catalogue) -> Exchange | None:
        """An exchange that the bridge can serve, by its name or a former one."""
        if not name:
            self.add(field, "is required")
            return None
        found = catalogue.find(name)
        if found is None:
            self.add(field, unserved(name, catalogue))
        return found

    def environment(self, field: str, value: E, exchange: Exchange | None) -> E:
        """LIVE, or SANDBOX where the exchange has one; each service has its own enum of the two."""
        if value.name == "SANDBOX" and exchange is not None and not exchange.has_sandbox:
            self.add(field, f"{exchange.id} has no test net; use LIVE")
        return value

    def credentials(self, field: str, credentials: Credentials) -> None:
        """Each value looks as it was issued."""
        for name, value in (*credentials.named(), *_empty_extras(credentials)):
            path = f"{field}.{name}" if name not in credentials.extra else f"{field}.extra[{name}]"
            if name in credentials.extra and name not in EXTRA_CREDENTIALS:
                # The name may be a secret that was put on the wrong side of the map.
                self.add(
                    f"{field}.extra", f"has an unknown name; the names are {', '.join(EXTRA_CREDENTIALS)}"
                )
            elif complaint := _complaint(value):
                self.add(path, complaint)

    def complete(self, field: str, credentials: Credentials, exchange: Exchange | None) -> None:
        """What the exchange requires is there; of one that nobody knows any more, nothing can be said."""
        if exchange is None:
            return
        given = [name for name, _ in credentials.named()]
        for name in exchange.missing_credentials(given):
            path = f"{field}.extra[{name}]" if name in EXTRA_CREDENTIALS else f"{field}.{name}"
            self.add(path, f"is required by {exchange.id}")


def parse_id(value: str) -> UUID | None:
    """A UUID in its usual form; None for anything else."""
    try:
        parsed = UUID(value)
    except ValueError:
        return None
    # UUID() also takes braces, "urn:uuid:" and digits without hyphens, which would be a second spelling.
    return parsed if str(parsed) == value.lower() else None


def required_id(field: str, value: str) -> UUID:
    """The one thing that most requests bring."""
    violations = Violations()
    found = violations.id(field, value)
    violations.refuse()
    return found


def ended(sentence: str) -> str:
    """The sentence with its full stop, unless it asks something."""
    return sentence if sentence.endswith("?") else f"{sentence}."


def unserved(name: str, catalogue: Catalogue) -> str:
    """What to say of an exchange that is not in the catalogue."""
    # The name itself is not repeated: it may be a credential that was put into the wrong field.
    if retired := catalogue.retired_name(name):
        return f"{retired} can no longer be served: ccxt has dropped it, mostly because it has shut down"
    nearest = catalogue.nearest(name)
    suggestion = (
        f"; did you mean {' or '.join(nearest)}?" if nearest else "; ListExchanges of the bridge names all"
    )
    return f"is not an exchange that is served{suggestion}"


def _empty_extras(credentials: Credentials) -> list[tuple[str, str]]:
    return [(name, value) for name, value in credentials.extra.items() if not value]


def _complaint(value: str) -> str | None:
    """What is wrong with a secret, without saying anything of what it is."""
    if not value:
        return "is empty"
    if len(value) > LONGEST_CREDENTIAL:
        return f"is {len(value)} characters long; at most {LONGEST_CREDENTIAL} are allowed"
    if _has(value, _INVISIBLE):
        return "has an invisible character in it, probably pasted along with it; remove it"
    if value != value.strip():
        if value.strip("\r\n") == value.strip():
            return "begins or ends with a newline, probably pasted along with it; remove it"
        return "begins or ends with white space, probably pasted along with it; remove it"
    # A PEM private key is the one credential that has lines.
    inside = value.replace("\r\n", "\n").replace("\n", "") if value.startswith("-----BEGIN ") else value
    if _has(inside, _CONTROL):
        return "has a control character, such as a newline, in it; was it pasted in several lines?"
    return None


def _has(value: str, categories: Collection[str]) -> bool:
    return any(unicodedata.category(character) in categories for character in value)
