"""How long the bridge is given."""

from datetime import timedelta

import pytest

from keyservice.deadlines import time_for_bridge

WAIT = timedelta(seconds=3)


@pytest.mark.parametrize(
    ("left", "given"),
    [(None, 3), (60, 3), (3, 2.55), (1, 0.85), (0.5, 0.4), (0.2, 0.1), (0.1, 0), (0.05, -0.05)],
)
def test_the_caller_can_always_still_be_told_who_was_late(left: float | None, given: float) -> None:
    assert time_for_bridge(WAIT, left) == timedelta(seconds=given)
