"""What is remembered of connectors that are gone: for so long, so many, and never less than before."""

import io
from datetime import timedelta

from bridgeservice.tombstones import Tombstones
from tests.support.clock import Clock

HOUR = timedelta(hours=1)


def test_the_highest_revision_is_remembered() -> None:
    tombstones = Tombstones(HOUR, Clock())
    assert tombstones.least("a", "kraken") == 0
    tombstones.put("a", "kraken", 7)
    tombstones.put("a", "kraken", 5)
    assert tombstones.least("a", "kraken") == 7
    assert tombstones.least("b", "kraken") == tombstones.least("a", "gate") == 0


def test_it_is_forgotten_in_time_and_when_the_connector_is_back() -> None:
    clock = Clock()
    tombstones = Tombstones(HOUR, clock)
    tombstones.put("a", "kraken", 7)
    tombstones.lift("a", "kraken")
    assert tombstones.least("a", "kraken") == 0
    tombstones.put("a", "kraken", 7)
    clock.now += 3599
    tombstones.put("a", "gate", 8)
    tombstones.expire()
    assert tombstones.least("a", "kraken") == 7
    clock.now += 1
    assert tombstones.least("a", "kraken") == 0
    tombstones.expire()
    assert len(tombstones) == 1


def test_beyond_a_number_the_oldest_is_forgotten_and_that_is_told(output: io.StringIO) -> None:
    tombstones = Tombstones(HOUR, Clock(), most=2)
    for name in ("one", "two", "one", "three"):
        tombstones.put("a", name, 3)
    assert [tombstones.least("a", name) for name in ("one", "two", "three")] == [3, 0, 3]
    assert "the oldest removal is forgotten" in output.getvalue()
