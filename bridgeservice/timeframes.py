"""The span of a candle, as ccxt writes it: ``1m``, ``4h``, ``1d``, ``1w``, ``1M``."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DEFAULT = "1m"

_TEXT = re.compile(r"([1-9]\d{0,3})([smhdwMy])")
# A month and a year as short as they can be: a candle too many is asked for, and none is missed.
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "M": timedelta(days=28),
    "y": timedelta(days=365),
}


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A span that an exchange may or may not offer."""

    text: str
    length: timedelta

    @classmethod
    def parse(cls, text: str) -> "Timeframe | None":
        """None for what is no span at all."""
        found = _TEXT.fullmatch(text)
        return cls(text, int(found[1]) * _UNITS[found[2]]) if found else None

    def covers_now(self, time: datetime) -> bool:
        """Whether the candle that begins at ``time`` is the newest there can be."""
        return self.length > datetime.now(UTC) - time
