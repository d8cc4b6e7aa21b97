"""Synthetic prices: of one seed and moment always the same, and the same story at every scale."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bridgeservice.exchanges.paper_feed import SPANS, Feed, Span

DAY = 86_400
REFERENCE = 100_000
FEED = Feed("a seed", REFERENCE, daily_volume=1_000_000)

moments = some.integers(-400 * 365 * DAY, 400 * 365 * DAY)


def joined(spans: list[Span]) -> Span:
    return Span(
        open=spans[0].open,
        high=max(span.high for span in spans),
        low=min(span.low for span in spans),
        close=spans[-1].close,
        volume=sum(span.volume for span in spans),
    )


def test_prices_are_these_for_ever() -> None:
    """On every machine, after every restart, in every release: open orders were matched against them."""
    assert [FEED.price(second) for second in (0, 1_000_000_000, 1_795_262_430)] == [115_723, 113_630, 126_259]
    minute = Span(open=126_192, high=126_347, low=126_171, close=126_299, volume=551)
    assert FEED.summary(1_795_262_400, 1_795_262_460) == minute


def test_another_seed_is_another_course() -> None:
    others = [Feed(f"seed {number}", REFERENCE, 1_000_000).price(0) for number in range(5)]
    assert len(set(others)) == 5


@settings(max_examples=30, deadline=None)
@given(moments, some.sampled_from(list(pairwise(SPANS))))
def test_a_span_is_what_the_shorter_spans_in_it_are_together(moment: int, sizes: tuple[int, int]) -> None:
    longer, shorter = sizes
    start = moment // longer * longer
    parts = [FEED.summary(begin, begin + shorter) for begin in range(start, start + longer, shorter)]
    whole = FEED.summary(start, start + longer)
    together = joined(parts)
    if shorter > 1:
        assert together == whole
        assert all(one.close == next_one.open for one, next_one in pairwise(parts))
    else:
        # A second has one price; a minute closes on the first price of the next one.
        assert (together.open, together.high, together.low) == (whole.open, whole.high, whole.low)
        assert together.volume == whole.volume
        assert whole.close == FEED.price(start + longer)


@settings(max_examples=30, deadline=None)
@given(moments, some.integers(1, 3 * DAY), some.integers(0, 3 * DAY))
def test_a_price_is_within_every_window_around_it(moment: int, before: int, after: int) -> None:
    window = FEED.summary(moment - before, moment + after + 1)
    assert window.low <= FEED.price(moment) <= window.high
    assert window.low > REFERENCE / 2
    assert window.high < REFERENCE * 3 / 2


@settings(max_examples=30, deadline=None)
@given(moments, some.integers(1, 1500), some.integers(-300, 300), some.booleans())
def test_the_first_second_that_reaches_a_price_is_the_one_found_by_looking_at_each(
    moment: int, seconds: int, above: int, rising: bool
) -> None:
    goal = FEED.price(moment) + above

    def reaches(price: int) -> bool:
        return price >= goal if rising else price <= goal

    found = [second for second in range(moment, moment + seconds) if reaches(FEED.price(second))]
    assert FEED.first(moment, moment + seconds, reaches) == (found[0] if found else None)


def test_a_price_that_is_never_reached_is_found_never_quickly() -> None:
    assert FEED.first(0, 5 * 365 * DAY, lambda price: price > 2 * REFERENCE) is None


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_noise_is_evenly_within_its_bounds(most: int) -> None:
    drawn = [FEED.noise("x", index, most) for index in range(2000)]
    assert min(drawn) >= -most
    assert max(drawn) <= most
    assert abs(sum(drawn)) < 2000 * most / 10
