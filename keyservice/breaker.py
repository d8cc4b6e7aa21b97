"""The breaker: while the transport says that the bridge is away, it is not asked again for every key.

Behind a balancer one bridge may be away while others serve, so a refused connection counts for the account whose call
met it. Silence costs whoever waits for it, so that counts for all. Half-open after a moment: one call goes through, the
others still hear what the last one did. An exchange's trouble behind a bridge that answers never trips it.

It also tells when somebody is back: what waits because nobody was there need not wait any longer then.
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
LOOKS: Final = 2
"""How many looks in a row that find nobody it takes, with no answer to anyone in between."""
NO_ACCOUNT: Final = ""
"""Of a call that is about the bridge as such."""
_MOST_ACCOUNTS: Final = 10_000


class Sign(Enum):
    """What a call tells of the bridge as such."""

    ALIVE = "it answered"
    BUSY = "it answered that it can't take this call now"
    NOT_SERVING = "it answered that it does not serve yet, or no longer"
    AWAY = "the transport can't reach it"
    SILENT = "it did not answer in the time that it had"
    NEITHER = "something in between answered"


class _Trip:
    """What the last call heard, and from when on another one may ask again."""

    def __init__(self, outcome: Outcome, half_open_at: float) -> None:
        self.outcome = outcome
        self.half_open_at = half_open_at


class Breaker:
    """Knows for whom the bridge is away."""

    def __init__(self, *, pause: timedelta = PAUSE, clock: Callable[[], float] = monotonic) -> None:
        self._pause = pause.total_seconds()
        self._clock = clock
        self._silences = 0
        self._silent: _Trip | None = None
        self._looks_lost = 0
        self._absence: Outcome | None = None
        self._away: dict[str, _Trip] = {}
        self._missed: set[str] = set()
        self.returns = 0
        """How often somebody answered for an account that had missed an answer before."""

    def is_away(self, account_name: str) -> bool:
        """Whether the last that was heard is that nobody is there for this account."""
        return self._trip(account_name) is not None

    @property
    def away_for_some(self) -> bool:
        """Whether the last that was heard is that nobody is there for some accounts, or for all."""
        return self._silent is not None or bool(self._away)

    @property
    def absence(self) -> Outcome | None:
        """What says that nobody is there for any account; None once somebody was."""
        return self._silent.outcome if self._silent else self._absence

    def refusal(self, account_name: str) -> Outcome | None:
        """What to answer without asking; None lets this call through, and no other one for a moment."""
        trip = self._trip(account_name)
        now = self._clock()
        if trip is None:
            return None
        if now < trip.half_open_at:
            return trip.outcome
        trip.half_open_at = now + self._pause
        return None

    def shut(self) -> list[str]:
        """The accounts for which ``refusal`` would let nothing through now, as far as they are away by themselves."""
        now = self._clock()
        return [account_name for account_name, trip in self._away.items() if now < trip.half_open_at]

    def answered(self, account_name: str) -> None:
        """Somebody serves this account; whoever answers for none may be there for all of them again."""
        self._there(account_name)
        if account_name in self._missed:
            # The others are tried anew now. Those who are still missed then will have failed again.
            self._missed.clear()
            self.returns += 1

    def failed(self, account_name: str, sign: Sign, outcome: Outcome, timeout: timedelta) -> None:
        """A call that had ``timeout`` ended with this sign."""
        trip = _Trip(outcome, self._clock() + self._pause)
        if sign is Sign.ALIVE:
            self.answered(account_name)
        elif sign is Sign.BUSY:
            self._there(account_name)
        elif sign is Sign.NOT_SERVING:
            self._there(account_name)
            self._miss(account_name)
        elif sign is Sign.AWAY and account_name != NO_ACCOUNT:
            self._miss(account_name)
            self._away[account_name] = trip
        elif sign is Sign.AWAY:
            # One look may have met the one of several bridges that is away; nobody answers in between where all are.
            self._looks_lost += 1
            if self._looks_lost >= LOOKS:
                self._absence = outcome
        elif sign is Sign.SILENT and timeout >= LONG_ENOUGH:
            self._miss(account_name)
            self._silences += 1
            if self._silences >= SILENCES:
                self._silent = trip

    def _there(self, account_name: str) -> None:
        """Nobody need be kept from asking."""
        self._silences = self._looks_lost = 0
        self._silent = self._absence = None
        if account_name == NO_ACCOUNT:
            self._away.clear()
        self._away.pop(account_name, None)

    def _miss(self, account_name: str) -> None:
        """Its keys wait for somebody who serves it, and so may those of other accounts."""
        if account_name == NO_ACCOUNT:
            return
        if len(self._missed) >= _MOST_ACCOUNTS:
            self._away.clear()
            self._missed.clear()
        self._missed.add(account_name)

    def _trip(self, account_name: str) -> _Trip | None:
        return self._silent or self._away.get(account_name)
