"""The places of the loop: how many keys the bridge is asked to take at once, and which accounts have no answer.

Behind a balancer one bridge may hang while others serve. Nobody says of a call that has no answer yet which bridge it
is at, so a place is kept for a moment only, and while the call goes on without one no other is begun for its account.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

# So many times what may be asked at once; only a database that is slow to take answers, or bridges that give none,
# come near it.
_MOST_BEGUN: Final = 8


class Places:
    """Knows what is at the bridge."""

    def __init__(self, at_once: int, *, moment: timedelta, freed: Callable[[], None]) -> None:
        """``freed`` is told when half of the places are free that were all taken."""
        self._at_once = at_once
        self._moment = moment
        self._freed = freed
        self._asking = 0
        """About how many keys the bridge is being asked."""
        self._begun = 0
        """The same with those that have had their moment, and those whose answer is not stored yet."""
        self._unanswered: Counter[UUID] = Counter()
        """Of whose account how many calls have had their moment."""
        self._more = False
        """Whether more may be due than there was room for."""

    @property
    def room(self) -> int:
        """For how many there is room, unless that is too few: one claim for many is better than one for each."""
        room = min(self._at_once - self._asking, _MOST_BEGUN * self._at_once - self._begun)
        if room >= (self._at_once + 1) // 2:
            return room
        self._more = True
        return 0

    @property
    def crowded(self) -> bool:
        """Whether so much is under way that nothing may have long any more, or there would be room for nothing."""
        return self._begun > _MOST_BEGUN * self._at_once // 2

    @property
    def unanswered(self) -> list[UUID]:
        """The clients for whose accounts somebody waits for an answer already."""
        return list(self._unanswered)

    def begin(self, number: int, *, of: int) -> None:
        """So many are taken to the bridge, of as many as there was room for."""
        self._asking += number
        self._begun += number
        self._more = number == of

    def end(self) -> None:
        """What came of one is stored."""
        self._begun -= 1

    @contextmanager
    def one(self, client_id: UUID) -> Iterator[None]:
        """Left as soon as the bridge has answered: what that means is written together with others, beside the next."""
        late = False

        def has_had_its_moment() -> None:
            nonlocal late
            late = True
            self._unanswered[client_id] += 1
            self._leave()

        moment = asyncio.get_running_loop().call_later(self._moment.total_seconds(), has_had_its_moment)
        try:
            yield
        finally:
            moment.cancel()
            if late:
                self._unanswered[client_id] -= 1
                self._unanswered += Counter()  # keeps no client that has none
            else:
                self._leave()

    def _leave(self) -> None:
        self._asking -= 1
        if self._more and self._asking <= self._at_once // 2:
            self._freed()
