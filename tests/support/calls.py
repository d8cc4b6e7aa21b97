"""A call that is being served, for what asks how much of its time is left."""

from time import monotonic
from typing import Any, cast

from servicekit.rpc.call import Call, Method, enter
from servicekit.rpc.policy import Policy


def enter_call(*, expires_in: float) -> None:
    """Make the rest of this task part of a call with so many seconds left."""
    method = Method("test.Service", "Call", Policy())
    # The time is known without asking gRPC, so nothing asks for its context.
    enter(Call(method, cast("Any", None), expires_at=monotonic() + expires_in))
