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
        self._reported: set[int] = set()
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._limit

    def refuse(self) -> None:
        """Say so if no call may be tried now; otherwise nothing."""
        now = monotonic()
        if self.is_open and now < self._next_trial:
            raise Unavailable(
                f"{self._exchange} has not been reachable lately; this call was not sent.",
                reason="EXCHANGE_UNAVAILABLE",
                metadata={"exchange": self._exchange},
                retry_after=timedelta(seconds=self._next_trial - now),
            )

    def admit(self) -> None:
        """Let a call through, which is the trial while the exchange counts as unreachable."""
        self.refuse()
        if self.is_open:
            self._next_trial = monotonic() + self._pause

    def answered(self) -> None:
        """The exchange gave an answer, whatever it said."""
        self._failures = 0
        self._reported.clear()

    def failed(self, reporter: int | None = None) -> None:
        """There was no answer, or one that says that the exchange is down.

        A failure with a reporter counts once for each: what the exchange fails at may be this one's account.
        """
        if reporter not in self._reported:
            self._failures += 1
        if reporter is not None:
            self._reported.add(reporter)
        self._next_trial = monotonic() + self._pause
