"""How often one exchange may be asked: the throttle that all of its connectors share, and the cool-down.

The throttle is ccxt's leaky bucket without its queue: whoever asks is told at once when his turn is, so a request
whose turn would come too late is refused instead of waiting in vain.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic, time

from bridgeservice.deadlines import time_left
from bridgeservice.exchanges.errors import DEFAULT_RETRY_AFTER
from servicekit.errors import ResourceExhausted

# An exchange that names a time beyond this does not mean it, or is read wrongly.
LONGEST_COOL_DOWN = timedelta(days=3)

_BANNED_UNTIL = re.compile(r"banned until (\d{10,13})")
# Headers that hold the moment of the next chance as a Unix time, in seconds or milliseconds.
_RESET_TIMES = ("x-bapi-limit-reset-timestamp", "x-gate-ratelimit-reset-timestamp")
# Headers that hold the milliseconds until then.
_RESET_DELAYS = ("gw-ratelimit-reset",)


class Throttle:
    """The turns of one exchange, a minimal time apart. Costs are ccxt's: most calls cost 1."""

    def __init__(self, exchange: str, interval: timedelta, longest_queue: timedelta) -> None:
        self._exchange = exchange
        self._interval = interval.total_seconds()
        self._longest_queue = longest_queue.total_seconds()
        self._ready_at = 0.0
        self._cool_until = 0.0

    async def turn(self, cost: float = 1.0) -> None:
        """Wait for a turn; refuse at once if it would come when nobody waits any more, or in a cool-down."""
        self._refuse_while_cooling()
        now = monotonic()
        wait = self._ready_at - now
        if wait > self._longest_wait():
            raise self._refusal("has more requests waiting for it than its rate limit lets through", wait)
        # One interval of credit for idle time, as ccxt gives it.
        self._ready_at = max(self._ready_at, now - self._interval) + cost * self._interval
        if wait > 0:
            await asyncio.sleep(wait)
            self._refuse_while_cooling()

    def cool_down(self, pause: timedelta | None) -> None:
        """The exchange turned us away. Nobody asks it again before the time that it named, or ours by default."""
        pause = min(pause or DEFAULT_RETRY_AFTER, LONGEST_COOL_DOWN)
        self._cool_until = max(self._cool_until, monotonic() + pause.total_seconds())

    def cooling(self) -> timedelta | None:
        """How long the cool-down still lasts; None when there is none."""
        left = self._cool_until - monotonic()
        return timedelta(seconds=left) if left > 0 else None

    def _refuse_while_cooling(self) -> None:
        if (left := self._cool_until - monotonic()) > 0:
            raise self._refusal("has asked us to stay away for a while", left)

    def _longest_wait(self) -> float:
        left = time_left()
        return self._longest_queue if left is None else min(self._longest_queue, left)

    def _refusal(self, why: str, seconds: float) -> ResourceExhausted:
        return ResourceExhausted(
            f"{self._exchange} {why}; this call was not sent.",
            reason="RATE_LIMITED",
            metadata={"exchange": self._exchange},
            retry_after=timedelta(seconds=seconds),
        )


def named_pause(headers: Mapping[str, str], body: str) -> timedelta | None:
    """How long an exchange wants to be left alone, from its answer; None where it does not say."""
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    if banned := _BANNED_UNTIL.search(body):
        return _until(int(banned[1]))
    if (after := lowered.get("retry-after")) and (pause := _retry_after(after)):
        return pause
    for name in _RESET_DELAYS:
        if (value := lowered.get(name, "")).isdecimal():
            return _positive(int(value) / 1000)
    for name in _RESET_TIMES:
        if (value := lowered.get(name, "")).isdecimal():
            return _until(int(value))
    return None


def _retry_after(value: str) -> timedelta | None:
    if value.isdecimal():
        return _positive(int(value))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _positive((moment - datetime.now(UTC)).total_seconds())


def _until(moment: int) -> timedelta | None:
    seconds = moment / 1000 if moment >= 10**11 else moment
    return _positive(seconds - time())


def _positive(seconds: float) -> timedelta | None:
    return timedelta(seconds=min(seconds, LONGEST_COOL_DOWN.total_seconds())) if seconds > 0 else None
