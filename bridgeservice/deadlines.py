"""How long what is being done is still wanted: by the caller who is served, or by all who share it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from math import inf
from time import monotonic

from servicekit.rpc.call import current_call


class Deadline:
    """The moment after which nobody wants the result. It moves with the last of those who wait for it."""

    def __init__(self, within: float | None = None) -> None:
        self._until = _moment(within)
        self.told: set[Callable[[], None]] = set()
        """What is called when one more waits for it, in the context of that one."""

    def extend(self, within: float | None) -> None:
        """One more waits for it, this long; None is without end."""
        self._until = max(self._until, _moment(within))
        for tell in list(self.told):
            tell()

    def left(self) -> float | None:
        """Seconds until then; None where there is no end."""
        return None if self._until == inf else self._until - monotonic()


_shared: ContextVar[Deadline | None] = ContextVar("keybridge_shared_deadline", default=None)


def go_by(deadline: Deadline) -> None:
    """From here on this task has this deadline, and not that of the call that began it."""
    _shared.set(deadline)


def time_left() -> float | None:
    """Seconds for which what this task does is still wanted; None where nothing bounds it."""
    if (deadline := _shared.get()) is not None:
        return deadline.left()
    call = current_call()
    return None if call is None else call.time_remaining()


@contextmanager
def told_of_joiners(tell: Callable[[], None]) -> Iterator[None]:
    """In the block, ``tell`` is called by each who comes to wait for what this task does."""
    told = deadline.told if (deadline := _shared.get()) is not None else set()
    told.add(tell)
    try:
        yield
    finally:
        told.discard(tell)


@asynccontextmanager
async def while_wanted() -> AsyncIterator[None]:
    """The block, for as long as what this task does is wanted, also by those who join; ``TimeoutError`` after that."""
    own = copy_context()
    async with asyncio.timeout(time_left()) as bound:

        def prolong() -> None:
            left = own.run(time_left)  # and not that of whoever joins
            if not bound.expired():
                bound.reschedule(None if left is None else asyncio.get_running_loop().time() + left)

        with told_of_joiners(prolong):
            yield


def _moment(within: float | None) -> float:
    return inf if within is None else monotonic() + within
