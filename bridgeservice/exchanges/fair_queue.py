"""A queue in which those who wait are served by turns, however much each of them asks for.

Start-time fair queuing: what somebody asks for is due when all that he asked for before would be done if he were alone
with his share. So one who asks for much stands behind himself, and whoever comes anew stands behind one request of
each other, and not behind all of them.
"""

from asyncio import Future
from bisect import insort
from dataclasses import dataclass
from itertools import takewhile
from operator import attrgetter

# With fewer there is nobody who is worth forgetting.
_FEW = 1000
_BY_START = attrgetter("start")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    turn: Future[None]
    cost: float
    start: float
    """His place: what would have been served to each until then."""


class FairQueue:
    """Who waits, in the order in which they are served."""

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []
        self._served = 0.0
        self._ends: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def cost(self) -> float:
        """What all that wait ask for."""
        return sum(each.cost for each in self._waiting)

    def ahead_of(self, whose: str) -> float:
        """What is served before one who comes now, if nobody else comes."""
        start = self._start(whose)
        return sum(each.cost for each in takewhile(lambda each: each.start <= start, self._waiting))

    def join(self, turn: "Future[None]", whose: str, cost: float) -> None:
        """Wait for a turn; or for one that somebody waits for already, if this one's would come earlier."""
        start = self._start(whose)
        if any(each.turn is turn and each.start <= start for each in self._waiting):
            return
        self._ends[whose] = start + cost
        insort(self._waiting, _Waiter(turn, cost, start), key=_BY_START)

    def leave(self, turn: "Future[None]") -> None:
        """Nobody waits for this turn any more."""
        self._waiting = [each for each in self._waiting if each.turn is not turn]
        self._forget()

    def serve(self) -> float:
        """Give the next one his turn; says what that costs. One who has had it or has left costs nothing."""
        waiter = self._waiting.pop(0)
        self._served = waiter.start
        self._forget()
        if waiter.turn.done():
            return 0.0
        waiter.turn.set_result(None)
        return waiter.cost

    def _start(self, whose: str) -> float:
        return max(self._served, self._ends.get(whose, 0.0))

    def _forget(self) -> None:
        """Those who have had their share, and no more."""
        if not self._waiting:
            self._ends.clear()
        elif len(self._ends) > _FEW:
            self._ends = {whose: end for whose, end in self._ends.items() if end > self._served}
