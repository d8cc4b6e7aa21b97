"""How long the bridge is given while a caller waits: so long that the caller can still be told who was late."""

from datetime import timedelta
from typing import Final

_LEAST_KEPT: Final = timedelta(milliseconds=100)
_SHARE_KEPT: Final = 0.15


def time_for_bridge(wait: timedelta, left: float | None) -> timedelta:
    """At most ``wait``, within the seconds that the caller has ``left``; not positive when there is no time."""
    if left is None:
        return wait
    remaining = timedelta(seconds=left)
    return min(wait, remaining - max(_LEAST_KEPT, remaining * _SHARE_KEPT))
