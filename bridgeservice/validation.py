"""What a request of the bridge must look like, beyond what both services check."""

import math
from collections.abc import Collection, Mapping
from datetime import timedelta

from bridgeservice import symbols
from bridgeservice.timeframes import DEFAULT, Timeframe
from servicekit.catalogue import Catalogue, Exchange
from servicekit.errors import FailedPrecondition
from servicekit.validation import Violations, ended, unserved

LONGEST_NAME = 128
LONGEST_ASSET = 32
MOST_NAMED = 1000


class Checks(Violations):
    """Collects what is wrong with one request; an exchange that nobody serves is refused when all else is right."""

    def __init__(self) -> None:
        super().__init__()
        self._unserved: FailedPrecondition | None = None

    def refuse(self) -> None:
        super().refuse()
        if self._unserved is not None:
            raise self._unserved

    def name(self, field: str, value: str) -> str:
        """The name of an account or a connector."""
        return self.text(field, value, longest=LONGEST_NAME, required=True)

    def optional_name(self, field: str, value: str) -> str:
        """The same, or none."""
        return self.text(field, value, longest=LONGEST_NAME)

    def names(self, field: str, values: list[str]) -> list[str]:
        """Some names, or none."""
        if self._few(field, values):
            for place, value in enumerate(values):
                self.name(f"{field}[{place}]", value)
        return values

    def revisions(self, field: str, values: Mapping[str, int], names: Collection[str]) -> Mapping[str, int]:
        """Of some of the named connectors."""
        if not values.keys() <= set(names):
            self.add(field, "is of connectors that are named")
        elif any(value <= 0 for value in values.values()):
            self.add(field, "is positive for each of them")
        return values

    def served(self, name: str, catalogue: Catalogue) -> Exchange | None:
        """The exchange of that name, or former name."""
        if not name:
            self.add("exchange", "is required")
            return None
        if len(name) > LONGEST_NAME:
            self.text("exchange", name, longest=LONGEST_NAME)
            return None
        found = catalogue.find(name)
        if found is None:
            sentence = unserved(name, catalogue)
            start = "" if catalogue.retired_name(name) else "This "
            self._unserved = FailedPrecondition(ended(f"{start}{sentence}"), reason="EXCHANGE_UNSUPPORTED")
        return found

    def revision(self, value: int) -> int:
        if value <= 0:
            self.add("revision", "is required, and is positive")
        return value

    def symbol(self, field: str, value: str) -> str:
        """A market's name as it is written here; whether there is such a market is for its exchange to say."""
        if not value:
            self.add(field, "is required")
        elif len(value) <= symbols.LONGEST and (right := symbols.misspelt(value)):
            self.add(field, f"is not written as markets are named here: use {right}", reason=symbols.UNKNOWN)
        else:
            self.text(field, value, longest=symbols.LONGEST)
        return value

    def symbols(self, values: list[str], field: str = "symbols") -> list[str]:
        """Some markets' names, or none."""
        if self._few(field, values):
            for place, value in enumerate(values):
                self.symbol(f"{field}[{place}]", value)
        return values

    def asset(self, field: str, value: str) -> str:
        """An asset's code, or none."""
        return self.text(field, value, longest=LONGEST_ASSET)

    def required_asset(self, field: str, value: str) -> str:
        """An asset's code."""
        return self.text(field, value, longest=LONGEST_ASSET, required=True)

    def depth(self, value: int) -> int:
        """How many levels: as many as a page has."""
        if value < 0:
            self.add("depth", "is negative; 0 stands for 50")
        return min(value or 50, 1000)

    def timeframe(self, value: str) -> Timeframe:
        """The span of a candle; whether the exchange offers it is for the exchange to say."""
        found = Timeframe.parse(value or DEFAULT)
        if found is None:
            self.add("timeframe", "is not a span such as 1m, 4h, 1d, 1w or 1M")
        return found or Timeframe("", timedelta(0))

    def age(self, field: str, seconds: float) -> float:
        """How old something may be."""
        if not math.isfinite(seconds) or seconds < 0:
            self.add(field, "is negative; 0 means asked anew")
        return seconds

    def _few(self, field: str, values: list[str]) -> bool:
        if len(values) > MOST_NAMED:
            self.add(field, f"names {len(values)}; at most {MOST_NAMED} are allowed")
        return len(values) <= MOST_NAMED


def account_name(value: str) -> str:
    """The one thing that most requests bring."""
    check = Checks()
    name = check.name("account_name", value)
    check.refuse()
    return name
