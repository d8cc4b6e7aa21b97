"""The error table for calls that never reach their handler, and what the transport makes of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from servicekit import errors
from servicekit.rpc.status import from_rpc_error
from tests.support.probe import (
    Echo,
    Probe,
    ProbeStub,
    eventually,
    failure,
    plain_channel,
    quick,
    raw_call,
    serving,
)
from tests.support.service_process import free_port
from tests.support.statuses import decoded, raises, retry, status


async def test_a_call_that_has_no_time_left_is_refused_before_it_begins() -> None:
    probe = Probe()
    options = quick(deadline_floor=timedelta(seconds=30))
    async with serving(probe, options) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo(), timeout=20))
    message = "Less than 30000 ms were left for this call; it was not begun."
    assert decoded(error) == status("DEADLINE_EXCEEDED", message, "DEADLINE_TOO_SHORT")
    assert not probe.seen


async def test_the_default_deadline_ends_a_call_that_brought_none() -> None:
    probe = Probe(lambda _request, _call: asyncio.Event().wait())
    options = quick(default_deadline=timedelta(milliseconds=50))
    async with serving(probe, options) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo()))
    message = "There was no answer within 0.05 s, the default for calls without a deadline."
    assert decoded(error) == status("DEADLINE_EXCEEDED", message, "DEADLINE_EXCEEDED")


async def test_garbage_bytes_are_an_invalid_argument_and_not_quoted() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        error = await failure(raw_call(channel, "/keybridge.probe.v1.Probe/GetEcho", b"\x0a\xffgarbage"))
    message = "The request is not a valid keybridge.probe.v1.Echo."
    assert decoded(error) == status("INVALID_ARGUMENT", message, "MALFORMED_REQUEST")


async def test_a_method_that_is_not_there_is_unimplemented() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        unknown = await failure(raw_call(channel, "/keybridge.probe.v1.Probe/Nothing", b""))
        unbuilt = await failure(raw_call(channel, "/keybridge.probe.v1.Probe/GetNothing", b""))
    assert decoded(unknown) == status("UNIMPLEMENTED", "No such method is served here.", "UNKNOWN_METHOD")
    message = "/keybridge.probe.v1.Probe/GetNothing is not served by this build."
    assert decoded(unbuilt) == status("UNIMPLEMENTED", message, "UNIMPLEMENTED")


async def test_one_call_too_many_is_told_when_to_come_again() -> None:
    go_on = asyncio.Event()
    probe = Probe(lambda request, _call: _after(go_on, request))
    async with (
        serving(probe, quick(max_concurrent_rpcs=1)) as server,
        plain_channel(server.port) as channel,
    ):
        stub = ProbeStub(channel)
        first = asyncio.ensure_future(stub.GetEcho(Echo(), timeout=60))
        await eventually(lambda: len(probe.seen) == 1, "the first was being served")
        error = await failure(stub.GetEcho(Echo(), timeout=60))
        go_on.set()
        await first
    message = "The server is busy: it serves 1 calls already. Try again in a second."
    assert decoded(error) == status(
        "RESOURCE_EXHAUSTED", message, "TOO_MANY_CALLS", retry(timedelta(seconds=1))
    )


async def _after(go_on: asyncio.Event, request: Any) -> Any:
    await go_on.wait()
    return Echo(text=request.text)


@asynccontextmanager
async def _stuck() -> AsyncIterator[tuple[Any, ProbeStub]]:
    """A server whose handlers never answer, and a stub of it."""
    probe = Probe(lambda _request, _call: asyncio.Event().wait())
    options = quick(shutdown_grace=timedelta(0))
    async with serving(probe, options) as server, plain_channel(server.port) as channel:
        yield server, ProbeStub(channel)


async def test_an_error_of_the_transport_is_told_from_one_of_ours() -> None:
    async with plain_channel(free_port()) as nowhere:
        refused = await failure(ProbeStub(nowhere).GetEcho(Echo(), timeout=20))
    async with _stuck() as (server, stub):
        late = await failure(stub.GetEcho(Echo(), timeout=0.1))
        large = await failure(stub.GetEcho(Echo(data=bytes(2 * 1024 * 1024)), timeout=20))
        lost = asyncio.ensure_future(failure(stub.GetEcho(Echo(), timeout=60)))
        await eventually(lambda: server.chain.admission.serving == 1, "the call was being served")
        await server.stop()
        # Before the channel is closed, which would cancel on this side what has not ended yet.
        ended = await lost
    made = [from_rpc_error(error) for error in (refused, late, large, ended)]
    names = [each.code.name for each in made]
    assert names[:3] == ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"]
    assert names[3] in ("UNAVAILABLE", "CANCELLED")
    assert not any(each.ours or each.reason for each in made)


@pytest.mark.parametrize(
    "error",
    [
        errors.Unavailable("The exchange is away.", reason="EXCHANGE_UNAVAILABLE"),
        errors.DeadlineExceeded("The exchange is late.", reason="EXCHANGE_TIMEOUT"),
        errors.ResourceExhausted("Too often.", reason="RATE_LIMITED", retry_after=timedelta(seconds=3)),
    ],
)
async def test_the_same_codes_from_behind_the_server_are_ours(error: errors.KeybridgeError) -> None:
    async with (
        serving(Probe(lambda _request, _call: raises(error)())) as server,
        plain_channel(server.port) as channel,
    ):
        got = from_rpc_error(await failure(ProbeStub(channel).GetEcho(Echo(), timeout=20)))
    assert got.ours
    assert (got.reason, got.message, got.retry_after) == (error.reason, error.message, error.retry_after)
