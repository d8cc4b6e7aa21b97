"""What nobody foresaw is logged so that it can be found, and without anything that may be secret."""

import asyncio
import gc
import io
import secrets
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from servicekit.errors import Internal, NotFound
from servicekit.rpc.call import Call
from tests.support.logged import lines
from tests.support.probe import Echo, Probe, ProbeStub, eventually, failure, plain_channel, serving


def raising(make: Any) -> Probe:
    async def answer(request: Any, call: Call) -> Any:
        local_value = request.text
        raise make(local_value)

    return Probe(answer)


async def test_an_unforeseen_error_is_logged_with_its_place_and_without_its_words_or_values(
    output: io.StringIO,
) -> None:
    secret = secrets.token_hex(16)
    async with serving(raising(ValueError)) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo(text=secret)))

    [line] = [each for each in lines(output) if each["event"] == "unforeseen error"]
    assert line["level"] == "error"
    assert line["exception"].startswith("ValueError\n")
    assert "test_failures.py" in line["exception"]
    assert "raise make(local_value)" in line["exception"]
    assert line["request_id"] in (error.details() or "")
    assert secret not in output.getvalue()


async def test_an_internal_error_of_ours_is_logged_in_its_own_words(output: io.StringIO) -> None:
    probe = raising(lambda _: Internal("The row is gone."))
    async with serving(probe) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo()))

    [line] = [each for each in lines(output) if "exception" in each]
    assert line["exception"].startswith("servicekit.errors.Internal: The row is gone.\n")
    assert "row" not in (error.details() or "")


def is_alive(request_id: str) -> bool:
    return any(type(each) is Call and each.request_id == request_id for each in gc.get_objects())


async def test_a_refusal_keeps_nothing_alive_that_only_the_collector_of_garbage_would_find() -> None:
    probe = raising(lambda text: NotFound(f"There is no {text}.", reason="ECHO_NOT_FOUND"))
    async with serving(probe) as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        gc.collect()
        gc.disable()
        try:
            # With a deadline of its own: asyncio keeps timers that were cancelled until they would ring.
            await failure(stub.GetEcho(Echo(text="it"), timeout=20))
            request_id = probe.seen.pop().request_id
            await eventually(lambda: not is_alive(request_id), "the call was let go")
        finally:
            gc.enable()


class Unasked:
    """Ways in which a handler ends in a cancellation that its caller did not ask for."""

    @staticmethod
    async def of_another_task(_request: Any, _call: Call) -> Any:
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        return await task

    @staticmethod
    async def in_a_group(_request: Any, _call: Call) -> Any:
        raise BaseExceptionGroup("several", [ValueError(), asyncio.CancelledError()])


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
@pytest.mark.parametrize("answer", [Unasked.of_another_task, Unasked.in_a_group])
async def test_a_cancellation_that_the_caller_did_not_ask_for_is_an_unforeseen_error(
    output: io.StringIO, answer: Any, method: str
) -> None:
    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        call = getattr(ProbeStub(channel), method)(Echo(), timeout=10)
        error = await failure(call.read() if method == "WatchEcho" else call)

    assert error.code() is grpc.StatusCode.INTERNAL
    assert [each["event"] for each in lines(output)] == ["unforeseen error", "rpc"]


async def test_a_caller_that_goes_away_is_no_unforeseen_error(output: io.StringIO) -> None:
    begun = asyncio.Event()

    async def answer(_request: Any, _call: Call) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        call = ProbeStub(channel).GetEcho(Echo())
        await begun.wait()
        call.cancel()
        await eventually(lambda: bool(lines(output)), "the end of the call was logged")

    assert [(each["event"], each["code"]) for each in lines(output)] == [("rpc", "CANCELLED")]


async def test_a_refusal_is_no_unforeseen_error() -> None:
    with capture_logs() as logs:
        async with serving(raising(NotFound)) as server, plain_channel(server.port) as channel:
            await failure(ProbeStub(channel).GetEcho(Echo(text="no")))

    assert [each["event"] for each in logs] == ["rpc"]


async def test_a_time_out_at_the_end_of_the_caller_s_time_is_the_deadline() -> None:
    async def answer(request: Any, call: Call) -> Any:
        # The default deadline is far; a handler that waits for as long as it is given ends in its own
        # time-out.
        call.expires_at = asyncio.get_running_loop().time() + 0.05
        async with asyncio.timeout(call.time_remaining()):
            await asyncio.Event().wait()

    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo()))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "The time was up before there was an answer."
