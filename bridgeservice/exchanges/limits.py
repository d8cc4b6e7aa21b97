"""How often one exchange may be asked: the throttle that all of its connectors share, and the cool-down.

The throttle is ccxt's leaky bucket with a queue of its own: whoever asks is told at once if his turn would come too
late, instead of waiting in vain; orders wait for orders only, and nobody's many requests for long before another's few.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic, time

from bridgeservice.deadlines import time_left, told_of_joiners
from bridgeservice.exchanges.errors import DEFAULT_RETRY_AFTER
from bridgeservice.exchanges.fair_queue import FairQueue
from bridgeservice.precedence import Standing
from servicekit.errors import ResourceExhausted

# An exchange that names a time beyond this does not mean it, or is read wrongly.
LONGEST_COOL_DOWN = timedelta(days=3)

# Of the turns: what orders have before everybody else. The others have what is left at the least.
_PART_OF_ORDERS = 0.75

_BANNED_UNTIL = re.compile(r"banned until (\d{10,13})")
# Headers that hold the moment of the next chance as a Unix time, in seconds or milliseconds.
_RESET_TIMES = ("x-bapi-limit-reset-timestamp", "x-gate-ratelimit-reset-timestamp")
# Headers that hold the milliseconds until then.
_RESET_DELAYS = ("gw-ratelimit-reset",)


class Throttle:
    """The turns of one exchange, a minimal time apart. Costs are ccxt's: most calls cost 1.

    Orders have a part of the turns to themselves, by a clock of their own, and the rest when nobody else wants it. What
    they use is taken into account for all: the exchange hears no more of us than its limit, but for the one costly
    question that may have gone just before, and for turns that were waited out behind a request of the same connector
    where nonces are counted. Within either, those who wait are served by turns.
    """

    def __init__(self, exchange: str, interval: timedelta, longest_queue: timedelta) -> None:
        self._exchange = exchange
        self._interval = interval.total_seconds()
        self._longest_queue = longest_queue.total_seconds()
        self._ready_at = 0.0
        self._ready_for_orders_at = 0.0
        self._cool_until = 0.0
        self._orders = FairQueue()
        self._others = FairQueue()
        self._wake: asyncio.TimerHandle | None = None

    async def turn(self, cost: float = 1.0, standing: Callable[[], Standing] = Standing) -> None:
        """Wait for a turn; refuse at once if it would come when nobody waits any more, or in a cool-down. What costs
        nothing takes none, and waits for nobody.

        ``standing`` is asked again for each who comes to wait for the same, so that nobody waits in another's place.
        """
        self.refuse_while_cooling()
        if not cost:
            return
        wait = self._wait_of(standing())
        if wait > self._longest_wait():
            raise self._refusal("has more requests waiting for it than its rate limit lets through", wait)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def join() -> None:
            asker, is_order = standing()
            (self._orders if is_order else self._others).join(turn, asker, cost)
            self._let_through()

        join()
        if not turn.done():
            try:
                with told_of_joiners(join):
                    await turn
            finally:
                self._orders.leave(turn)
                self._others.leave(turn)
            self.refuse_while_cooling()

    def cool_down(self, pause: timedelta | None) -> None:
        """The exchange turned us away. Nobody asks it again before the time that it named, or ours by default."""
        pause = min(pause or DEFAULT_RETRY_AFTER, LONGEST_COOL_DOWN)
        self._cool_until = max(self._cool_until, monotonic() + pause.total_seconds())

    def cooling(self) -> timedelta | None:
        """How long the cool-down still lasts; None when there is none."""
        left = self._cool_until - monotonic()
        return timedelta(seconds=left) if left > 0 else None

    def _wait_of(self, standing: Standing) -> float:
        """In how many seconds the turn of one who comes now will be, if nobody comes after him."""
        now = monotonic()
        if standing.is_order:
            ahead = self._orders.ahead_of(standing.asker) / _PART_OF_ORDERS
            return max(0.0, self._ready_for_orders_at - now) + ahead * self._interval
        ahead = self._others.ahead_of(standing.asker) + self._orders.cost
        return max(0.0, self._ready_at - now) + ahead * self._interval

    def _let_through(self) -> None:
        """All whose time has come, and come back when it is the next one's."""
        now = monotonic()
        while (queue := self._next(now)) is not None:
            used = queue.serve() * self._interval
            if queue is self._orders and self._ready_for_orders_at <= now:
                own = used / _PART_OF_ORDERS
                self._ready_for_orders_at = self._after(self._ready_for_orders_at, own, now)
            self._ready_at = self._after(self._ready_at, used, now)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._orders or self._others:
            moments = [self._ready_at, *([self._ready_for_orders_at] if self._orders else ())]
            self._wake = asyncio.get_running_loop().call_later(min(moments) - now, self._let_through)

    def _next(self, now: float) -> FairQueue | None:
        """The queue that is served now, if any is."""
        if self._orders and self._ready_for_orders_at <= now:
            return self._orders
        if self._ready_at <= now:
            return next((queue for queue in (self._others, self._orders) if queue), None)
        return None

    def _after(self, ready_at: float, used: float, now: float) -> float:
        """When a clock is ready again; it has one interval of credit for idle time, as ccxt gives it."""
        return max(ready_at, now - self._interval) + used

    def refuse_while_cooling(self) -> None:
        """For whoever has had his turn and waits for something else: the exchange may have turned us away meanwhile."""
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
