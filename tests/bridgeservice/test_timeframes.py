"""The span of a candle."""

from datetime import UTC, datetime, timedelta

import pytest

from bridgeservice.timeframes import Timeframe


@pytest.mark.parametrize(
    ("text", "length"),
    [("1m", timedelta(minutes=1)), ("4h", timedelta(hours=4)), ("1M", timedelta(days=28))],
)
def test_a_span_is_read_as_ccxt_writes_it(text: str, length: timedelta) -> None:
    assert Timeframe.parse(text) == Timeframe(text, length)


@pytest.mark.parametrize("text", ["", "1", "m", "0m", "-1m", "1min", "1m ", "99999d", "1H", "¹m"])
def test_what_is_no_span_is_none(text: str) -> None:
    assert Timeframe.parse(text) is None


def test_a_candle_covers_now_until_its_span_is_over() -> None:
    minute = Timeframe("1m", timedelta(minutes=1))
    now = datetime.now(UTC)
    assert minute.covers_now(now)
    assert not minute.covers_now(now - timedelta(minutes=1))
    assert minute.covers_now(datetime.max.replace(tzinfo=UTC))
