"""Synthetic prices of one market: the same for the same seed and moment, on every machine and after every restart.

Nothing is stored and nothing is drawn in sequence, so any moment of any year costs the same to look at. A day is a
candle whose open, close, low and high are hashes; it is divided into spans that begin where the one before ended
and stay between the day's low and high, one of them touching each; so are those, down to the second. What a candle
says is therefore what its tickers do, at every scale. All of it is whole numbers of the market's steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Final

SPANS: Final = (86_400, 14_400, 3_600, 900, 300, 60, 1)
"""The seconds that a span of each level takes: a day, four hours, an hour, … and the second, which has one price."""

_DAY, _SECOND = 0, len(SPANS) - 1
_KEPT = 8192
# Slow waves under the daily moves: how many days from crest to crest, and how high, as a share of the reference in
# thousandths. Together with a day's own range they keep a price above half of its reference.
_WAVES = ((89, 200), (31, 100), (7, 60), (1, 20))
_DAILY_RANGE = 25


@dataclass(frozen=True, slots=True)
class Span:
    """What happened in a span of time: prices in steps of the market, and how many steps of amount were traded.

    It closes on the price that the next one opens with.
    """

    open: int
    high: int
    low: int
    close: int
    volume: int


class Feed:
    """The prices of one market. Times are whole seconds since 1970."""

    def __init__(self, seed: str, reference: int, daily_volume: int) -> None:
        self._key = blake2b(seed.encode()).digest()
        self._reference = reference
        self._daily_volume = daily_volume
        self._day = lru_cache(_KEPT)(self._make_day)
        self._children = lru_cache(_KEPT)(self._divide)

    def price(self, second: int) -> int:
        """The price of the last trade, which is that of the whole second."""
        day, second = divmod(second, SPANS[_DAY])
        span, index = self._day(day), day
        for level in range(1, len(SPANS)):
            place, second = divmod(second, SPANS[level])
            span = self._children(level - 1, index, span)[place]
            index = index * (SPANS[level - 1] // SPANS[level]) + place
        return span.open

    def summary(self, start: int, end: int) -> Span:
        """All that happened from ``start`` until before ``end``, which is later."""
        spans = list(self._cover(start, end))
        return Span(
            open=spans[0].open,
            high=max(span.high for span in spans),
            low=min(span.low for span in spans),
            close=spans[-1].close,
            volume=sum(span.volume for span in spans),
        )

    def first(self, start: int, end: int, reaches: Callable[[int], bool]) -> int | None:
        """The first second from ``start`` until before ``end`` whose price ``reaches``, if any does.

        What reaches at two prices has to reach at those between them, and at all beyond one of the two.
        """
        for index in self._days(start, end):
            found = self._first_in(_DAY, index, self._day(index), (start, end), reaches)
            if found is not None:
                return found
        return None

    def noise(self, what: str, index: int, most: int) -> int:
        """A number from -most to most that belongs to these arguments and to nothing else."""
        digest = blake2b(f"{what} {index}".encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") % (2 * most + 1) - most

    def _first_in(
        self, level: int, index: int, span: Span, window: tuple[int, int], reaches: Callable[[int], bool]
    ) -> int | None:
        begin = index * SPANS[level]
        if begin >= window[1] or begin + SPANS[level] <= window[0]:
            return None
        if not (reaches(span.low) or reaches(span.high)):
            return None
        if level == _SECOND:
            return begin
        children = self._children(level, index, span)
        for place, child in enumerate(children):
            found = self._first_in(level + 1, index * len(children) + place, child, window, reaches)
            if found is not None:
                return found
        return None

    def _cover(self, start: int, end: int) -> Iterator[Span]:
        """The fewest spans that are the window together, in their order."""
        for index in self._days(start, end):
            yield from self._cover_in(_DAY, index, self._day(index), (start, end))

    def _cover_in(self, level: int, index: int, span: Span, window: tuple[int, int]) -> Iterator[Span]:
        begin = index * SPANS[level]
        if begin >= window[1] or begin + SPANS[level] <= window[0]:
            return
        if window[0] <= begin and begin + SPANS[level] <= window[1]:
            yield span
            return
        children = self._children(level, index, span)
        for place, child in enumerate(children):
            yield from self._cover_in(level + 1, index * len(children) + place, child, window)

    def _days(self, start: int, end: int) -> range:
        return range(start // SPANS[_DAY], (end - 1) // SPANS[_DAY] + 1)

    def _make_day(self, index: int) -> Span:
        opened, closed = self._level(index), self._level(index + 1)
        reach = self._reference * _DAILY_RANGE // 1000
        return Span(
            open=opened,
            high=max(opened, closed) + abs(self.noise("high", index, reach)),
            low=min(opened, closed) - abs(self.noise("low", index, reach)),
            close=closed,
            volume=self._daily_volume + self.noise("volume", index, self._daily_volume // 2),
        )

    def _level(self, day: int) -> int:
        """The price at which a day begins: a sum of waves, each of them straight from one random crest to the next."""
        price = self._reference
        for days, height in _WAVES:
            crest, passed = divmod(day, days)
            most = self._reference * height // 1000
            here, there = (self.noise(f"wave of {days}", each, most) for each in (crest, crest + 1))
            price += here + (there - here) * passed // days
        return price

    def _divide(self, level: int, index: int, span: Span) -> tuple[Span, ...]:
        """The spans of the next level: they begin and end where this one does, and touch its low and its high."""
        if level + 1 == _SECOND:
            return self._seconds(index, span)
        count = SPANS[level] // SPANS[level + 1]
        first = index * count
        borders = [span.open]
        for place in range(1, count):
            straight = span.open + (span.close - span.open) * place // count
            wanted = straight + self.noise(f"border {level}", first + place, (span.high - span.low) // 2)
            borders.append(min(max(wanted, span.low), span.high))
        borders.append(span.close)
        lowest, highest = (abs(self.noise(f"{of} {level}", index, 2**32)) % count for of in ("low", "high"))
        reach = (span.high - span.low) // count
        children = []
        for place, (opened, closed) in enumerate(pairwise(borders)):
            up, down = (abs(self.noise(f"{of} {level}", first + place, reach)) for of in ("above", "below"))
            high = span.high if place == highest else min(max(opened, closed) + up, span.high)
            low = span.low if place == lowest else max(min(opened, closed) - down, span.low)
            children.append(Span(opened, high, low, closed, _share(span.volume, place, count)))
        return tuple(children)

    def _seconds(self, index: int, span: Span) -> tuple[Span, ...]:
        """A minute goes straight from its open to one extreme, to the other, and to its close."""
        extremes = (span.low, span.high) if self.noise("turn", index, 2**32) > 0 else (span.high, span.low)
        stations = (span.open, *extremes, span.close)
        prices = [
            start + (end - start) * passed // 20 for start, end in pairwise(stations) for passed in range(20)
        ]
        return tuple(
            Span(price, price, price, price, _share(span.volume, place, 60))
            for place, price in enumerate(prices)
        )


def _share(total: int, place: int, count: int) -> int:
    """One of ``count`` even shares, which together are the total."""
    return total * (place + 1) // count - total * place // count
