"""The circuit breaker of one exchange: while it can't be reached, callers are told so at once."""

from datetime import timedelta
from time import monotonic

from servicekit.errors import Unavailable


class Breaker:
    """Opens after so many failures in a row. While it is open, one call in each pause goes through as a trial.

    A trial needs no bookkeeping of its own: whoever is let through reports like everybody else, and where a
    trial is cancelled before it can, the next pause brings the next one.
    """

    def __init__(self, exchange: str, failures: int, pause: timedelta) -> None:
        self._exchange = exchange
        self._limit = failures
        self._pause = pause.total_seconds()
        self._failures = 0
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._limit

    def admit(self) -> None:
        """Return if a call may be tried now."""
        if not self.is_open:
            return
        now = monotonic()
        if now < self._next_trial:
            raise Unavailable(
                f"{self._exchange} has not been reachable lately; this call was not sent.",
                reason="EXCHANGE_UNAVAILABLE",
                metadata={"exchange": self._exchange},
                retry_after=timedelta(seconds=self._next_trial - now),
            )
        self._next_trial = now + self._pause

    def answered(self) -> None:
        """The exchange gave an answer, whatever it said."""
        self._failures = 0

    def failed(self) -> None:
        """There was no answer, or one that says that the exchange is down."""
        self._failures += 1
        self._next_trial = monotonic() + self._pause
