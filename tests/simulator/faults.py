"""What can be made to go wrong at a simulated exchange."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum

ORDERS = {
    "binance": "/order",
    "kraken": "/AddOrder",
    "okx": "/batch-orders",
    "kucoin": "/hf/orders",
    "gate": "/orders",
}
"""Where each exchange takes orders, for faults of these alone."""


class FaultKind(StrEnum):
    """In which way. Unless it says otherwise, the request has no effect."""

    SLOW = "slow"
    """Answers rightly, ``seconds`` late."""
    FAIL = "fail"
    """Answers ``status`` with a line of text."""
    FAIL_AFTER_ACTING = "fail_after_acting"
    """Acts, and answers ``status`` with a line of text."""
    REFUSE = "refuse"
    """Says in this exchange's way that the account has too little."""
    HTML = "html"
    """Answers ``status`` with a page, as a proxy in between does."""
    TRUNCATED = "truncated"
    """Acts, and sends half of the answer."""
    HUGE = "huge"
    """Answers ten megabytes of JSON."""
    EMPTY = "empty"
    """Answers ``status`` with nothing."""
    RATE_LIMITED = "rate_limited"
    """Says in this exchange's way that there will be room in ``seconds``."""
    BANNED = "banned"
    """Says in this exchange's way that this address is banned for ``seconds``."""
    HANG = "hang"
    """Never answers; when the fault is cleared, it closes the connection."""
    HOLD = "hold"
    """Acts and answers when the fault is cleared, whether somebody still waits for it or not."""
    HOLD_AFTER_ACTING = "hold_after_acting"
    """Acts, and answers when the fault is cleared."""
    DROP = "drop"
    """Closes the connection."""
    DROP_AFTER_ACTING = "drop_after_acting"
    """Acts, and closes the connection."""


@dataclass(slots=True)
class Fault:
    """One thing to go wrong: where the path contains ``path``, and so many ``times`` (None: until cleared)."""

    kind: FaultKind
    path: str = ""
    times: int | None = None
    seconds: float = 0
    status: int = 200


class Faults:
    """What goes wrong at one exchange; the fault that was added first comes first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._cleared = asyncio.Event()

    def add(
        self,
        kind: FaultKind,
        *,
        path: str = "",
        times: int | None = None,
        seconds: float = 0,
        status: int | None = None,
    ) -> None:
        default = 503 if kind in (FaultKind.FAIL, FaultKind.FAIL_AFTER_ACTING) else 200
        self._faults.append(Fault(kind, path, times, seconds, default if status is None else status))

    def clear(self) -> None:
        """Nothing goes wrong any more, and what hangs is let go."""
        self._faults.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    def until_cleared(self) -> Awaitable[object]:
        """Waits for the next time that it is cleared after this call, not after the first wait."""
        return self._cleared.wait()

    def take(self, path: str) -> Fault | None:
        """What goes wrong with a request to this path."""
        for fault in self._faults:
            if fault.path in path:
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault
        return None
