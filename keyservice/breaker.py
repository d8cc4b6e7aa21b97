"""The breaker: while the transport says that the bridge is away, it is not asked again for every key.

It is half-open after a moment: one call goes through, the others still hear what the last one did. Only what
the transport says trips it, never an exchange's trouble behind a bridge that answers.
"""

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from time import monotonic
from typing import Final

from keyservice.bridge_records import Outcome

PAUSE: Final = timedelta(seconds=1)
# Silence is a weaker sign than a refused connection: it may have been this one call's bad luck.
SILENCES: Final = 3
LONG_ENOUGH: Final = timedelta(seconds=1)
"""A call that had less time than this says nothing by having no answer."""


class Sign(Enum):
    """What a call tells of the bridge as such."""

    ALIVE = "it answered"
    AWAY = "the transport can't reach it"
    SILENT = "it did not answer in the time that it had"
    NEITHER = "something in between answered"


class Breaker:
    """Knows whether the bridge is away."""

    def __init__(self, *, pause: timedelta = PAUSE, clock: Callable[[], float] = monotonic) -> None:
        self._pause = pause.total_seconds()
        self._clock = clock
        self._silences = 0
        self._tripped_by: Outcome | None = None
        self._half_open_at = 0.0

    @property
    def away(self) -> bool:
        """Whether the last that was heard is that nobody is there."""
        return self._tripped_by is not None

    @property
    def absence(self) -> Outcome | None:
        """What the last call came to that found nobody there; None once somebody was."""
        return self._tripped_by

    def refusal(self) -> Outcome | None:
        """What to answer without asking; None lets this call through, and no other one for a moment."""
        if self._tripped_by is None:
            return None
        now = self._clock()
        if now < self._half_open_at:
            return self._tripped_by
        self._half_open_at = now + self._pause
        return None

    def answered(self) -> None:
        self._silences = 0
        self._tripped_by = None

    def failed(self, sign: Sign, outcome: Outcome, timeout: timedelta) -> None:
        """A call that had ``timeout`` ended with this sign."""
        if sign is Sign.ALIVE:
            self.answered()
            return
        if sign is Sign.SILENT and timeout >= LONG_ENOUGH:
            self._silences += 1
        if sign is Sign.AWAY or (sign is Sign.SILENT and self._silences >= SILENCES):
            self._tripped_by = outcome
            self._half_open_at = self._clock() + self._pause
