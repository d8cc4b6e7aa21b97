"""What a handler knows of its call."""

import asyncio
from datetime import timedelta
from typing import Any

from servicekit.rpc.call import Call, current_call
from tests.support.probe import Echo, Probe, ProbeStub, plain_channel, quick, serving


async def seen(options: Any = None, **how: Any) -> dict[str, Any]:
    """What the call said while it was being served."""
    facts: dict[str, Any] = {}

    async def answer(request: Any, call: Call) -> Any:
        facts.update(
            left=call.time_remaining(),
            method=call.method,
            token=call.header("x-token"),
            binary=call.header("x-token-bin"),
            current=current_call() is call,
            inherited=await asyncio.create_task(current_in_a_task()) is call,
        )
        return Echo()

    async with serving(Probe(answer), options) as server, plain_channel(server.port) as channel:
        await ProbeStub(channel).GetEcho(Echo(), **how)
    return facts


async def current_in_a_task() -> Call | None:
    return current_call()


async def test_a_call_knows_its_method() -> None:
    method = (await seen())["method"]

    assert method.service == "keybridge.probe.v1.Probe"
    assert method.name == "GetEcho"
    assert method.full == "/keybridge.probe.v1.Probe/GetEcho"


async def test_a_call_knows_how_long_its_caller_waits() -> None:
    assert 500 < (await seen(timeout=600))["left"] < 601


async def test_a_call_without_a_deadline_has_the_server_s() -> None:
    assert 700 < (await seen(quick(default_deadline=timedelta(seconds=800))))["left"] <= 800


async def test_a_call_reads_its_metadata() -> None:
    facts = await seen(metadata=(("x-token", "first"), ("x-token", "second"), ("x-token-bin", b"\0")))

    assert facts["token"] == "first"  # noqa: S105 - no secret
    assert facts["binary"] is None


async def test_the_current_call_is_that_of_the_task_and_of_those_that_it_starts() -> None:
    facts = await seen()

    assert facts["current"]
    assert facts["inherited"]
    assert current_call() is None
