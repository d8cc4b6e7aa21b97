"""Who is let through first where many wait for one exchange: what is about an order, and then everybody in fairness."""

from contextvars import ContextVar
from typing import Final, NamedTuple

from servicekit.rpc.call import current_call

OURSELVES: Final = "the bridge"
"""Who asks where nobody called: what the bridge compares and remembers by itself."""

_first: ContextVar[bool] = ContextVar("keybridge_goes_first", default=False)


class Standing(NamedTuple):
    """How a request stands among those that wait with it."""

    asker: str = OURSELVES
    """Whose it is: by this they are told apart."""
    is_order: bool = False
    """Whether it places or ends an order, and so waits for nothing that does not."""


def go_first() -> None:
    """From here on, what this task asks of an exchange is to place or to end an order."""
    _first.set(True)


def goes_first() -> bool:
    """Whether this task places or ends an order."""
    return _first.get()


def standing(connector: int | None) -> Standing:
    """That of what this task asks, by one connector or by none.

    Whoever makes the call that it is a part of is who asks; but where that is KeyService, or somebody who did not have
    to say who he is, it is the connector. So it is where nobody called, and the bridge looks after orders by itself.
    """
    call = current_call()
    if call is None and not _first.get():
        return Standing()
    if call is None or call.principal is None or call.principal.speaks_for_all:
        return Standing(f"connector {connector}", _first.get())
    return Standing(f"principal {call.principal.name}", _first.get())
