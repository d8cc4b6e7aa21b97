"""Sentences for people."""

from servicekit.wording import counted


def test_one_of_a_thing_is_not_told_as_many() -> None:
    assert [counted(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
