"""Calls that their callers take back at once: while there are such, nothing is done for them but to count them."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from servicekit.rpc import resets
from servicekit.rpc.access import NoMetrics
from servicekit.rpc.call import Call
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.rpc.resets import Resets
from tests.support.clock import Clock
from tests.support.http2 import Connection, call_headers, taken_back
from tests.support.probe import PROBE, Echo, ProbeStub, eventually, plain_channel, serving

GET = f"/{PROBE.full_name}/GetEcho"
RESETS = 400
CALL: Any = SimpleNamespace(method=SimpleNamespace(full=GET))


class Codes(NoMetrics):
    """How many calls began, and how many ended with which status."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: Counter[str] = Counter()

    def rpc_started(self, _method: str) -> None:
        self.begun += 1

    def rpc_finished(self, _method: str, code: str, _seconds: float) -> None:
        self.ended[code] += 1


class Doorkeeper:
    """Admits everybody, and knows how many came."""

    def __init__(self) -> None:
        self.asked = 0

    async def authorize(self, _call: Call, _policy: Policy) -> Principal | None:
        self.asked += 1
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(resets, "monotonic", clock)
    return clock


@pytest.fixture
def codes() -> Codes:
    return Codes()


async def begins_at_once(link: Resets) -> bool:
    """Whether a call is in the hands of the next link within one turn of the event loop, and is then taken back."""
    begun = False

    async def serve() -> None:
        nonlocal begun
        async with link.around(CALL):
            begun = True
            await asyncio.Event().wait()

    call = asyncio.create_task(serve())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    return begun


async def test_a_call_is_not_held_up_while_none_is_taken_back(clock: Clock, codes: Codes) -> None:
    assert await begins_at_once(Resets(codes))
    assert codes.ended == {}, "the links further in count what has begun"


async def test_for_a_second_after_a_call_was_taken_back_the_next_is_begun_only_if_it_is_still_wanted(
    clock: Clock, codes: Codes
) -> None:
    link = Resets(codes)
    await begins_at_once(link)

    clock.now += 0.9
    assert not await begins_at_once(link)
    assert (codes.begun, codes.ended) == (1, {"CANCELLED": 1})
    clock.now += 0.9
    async with link.around(CALL):  # one that is wanted
        pass
    assert not await begins_at_once(link)
    clock.now += 1.1
    assert await begins_at_once(link)
    assert (codes.begun, codes.ended) == (2, {"CANCELLED": 2})


def reset_at_once(port: int) -> None:
    with Connection(port) as connection:
        connection.send(taken_back(call_headers(GET), range(1, 2 * RESETS, 2)))


async def test_of_calls_that_are_reset_at_once_hardly_one_gets_further_than_to_be_counted(
    codes: Codes,
) -> None:
    door = Doorkeeper()
    async with serving(metrics=codes, authorizer=door) as server, plain_channel(server.port) as channel:
        await asyncio.to_thread(reset_at_once, server.port)
        await eventually(lambda: codes.ended["CANCELLED"] == RESETS, "all were counted", seconds=30)
        assert door.asked < RESETS / 4

        assert (await ProbeStub(channel).GetEcho(Echo(text="x"))).text == "x"
    assert (codes.begun, codes.ended) == (RESETS + 1, {"CANCELLED": RESETS, "OK": 1})
