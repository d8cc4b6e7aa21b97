"""What is remembered of connectors that are gone: the least revision that may be pushed under their name."""

from collections.abc import Callable
from datetime import timedelta

from servicekit import logs

MOST = 100_000

_log = logs.get(__name__)


class Tombstones:
    """Bounded in time and in number: the oldest goes first."""

    def __init__(self, keep: timedelta, clock: Callable[[], float], *, most: int = MOST) -> None:
        self._keep = keep.total_seconds()
        self._most = most
        self._clock = clock
        # In the order of their time, because each is put at the end.
        self._least: dict[tuple[str, str], tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._least)

    def put(self, account_name: str, name: str, least: int) -> None:
        key = (account_name, name)
        before, _ = self._least.pop(key, (0, 0.0))
        self._least[key] = (max(before, least), self._clock() + self._keep)
        if len(self._least) > self._most:
            del self._least[next(iter(self._least))]
            _log.warning("too many connectors were removed: the oldest removal is forgotten", kept=self._most)

    def least(self, account_name: str, name: str) -> int:
        least, until = self._least.get((account_name, name), (0, 0.0))
        return least if self._clock() < until else 0

    def lift(self, account_name: str, name: str) -> None:
        """The connector is there again, and knows its revision itself."""
        self._least.pop((account_name, name), None)

    def expire(self) -> None:
        now = self._clock()
        for key in list(self._least):
            if self._least[key][1] > now:
                break
            del self._least[key]
