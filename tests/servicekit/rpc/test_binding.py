"""Contracts and their servicers, and what is neither."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from servicekit.errors import NotFound, StartupError
from servicekit.rpc.binding import Service
from servicekit.rpc.call import Call
from servicekit.rpc.server import Server
from servicekit.rpc.status import from_rpc_error
from tests.support.malformed import OVERSIZED, Malformed, malformed_requests, send
from tests.support.probe import (
    PROBE,
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

ALLOWED = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}


async def test_each_kind_of_call_reaches_its_handler() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        both = [Echo(text="a"), Echo(text="b")]

        assert (await stub.GetEcho(Echo(text="x"))).text == "x"
        assert (await stub.SendEchoes(iter(both))).text == "ab"
        assert [each.text async for each in stub.TalkEcho(iter(both))] == ["a", "b"]
        watch = stub.WatchEcho(Echo(text="x"))
        assert (await watch.read()).text == "x"
        watch.cancel()


async def test_a_call_without_a_request_is_refused_in_our_words() -> None:
    probe = Probe()
    async with serving(probe) as server, plain_channel(server.port) as channel:
        for name in ("GetEcho", "WatchEcho"):
            # To the client it is a stream, so that it ends without a message.
            make: Any = channel.stream_stream(f"/{PROBE.full_name}/{name}")
            told = from_rpc_error(await failure(make(iter([])).read()))
            assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert probe.seen == []


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28", b"\x08" + b"\xff" * 11, b"\x0c", b"\x22\x7fx"]
)
@pytest.mark.parametrize("name", ["GetEcho", "WatchEcho", "SendEchoes", "TalkEcho"])
async def test_bytes_that_are_no_request_are_refused_in_our_words(name: str, raw: bytes) -> None:
    request = Malformed(PROBE.methods_by_name[name], "by hand", raw)
    probe = Probe()
    async with serving(probe) as server, plain_channel(server.port) as channel:
        assert await send(channel, request) is grpc.StatusCode.INVALID_ARGUMENT
        error = await failure(raw_call(channel, "/keybridge.probe.v1.Probe/GetEcho", raw))

    told = from_rpc_error(error)
    assert told.message == "The request is not a valid keybridge.probe.v1.Echo."
    assert told.reason == "MALFORMED_REQUEST"
    assert probe.seen == [] or name in ("WatchEcho", "TalkEcho")


async def test_five_hundred_malformed_requests_are_never_our_fault() -> None:
    requests = malformed_requests(20261121, PROBE)
    codes: dict[str, set[grpc.StatusCode]] = {}
    async with serving() as server, plain_channel(server.port) as channel:
        for _ in range(500):
            request = next(requests)
            codes.setdefault(request.kind, set()).add(await send(channel, request))
        assert (await ProbeStub(channel).GetEcho(Echo(text="still here"))).text == "still here"

    assert codes.pop("oversized") == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert set().union(*codes.values()) == ALLOWED
    assert len(codes) == 11


def test_the_same_seed_makes_the_same_requests() -> None:
    def first(seed: int) -> list[bytes]:
        requests = malformed_requests(seed, PROBE)
        return [next(requests).raw for _ in range(600)]

    assert first(1) == first(1) != first(2)
    assert max(map(len, first(1) + first(2))) == OVERSIZED


@pytest.mark.parametrize("wrong", [None, "text", object()])
@pytest.mark.parametrize("name", ["GetEcho", "WatchEcho"])
async def test_an_answer_of_the_wrong_type_is_internal_and_tells_nothing(name: str, wrong: Any) -> None:
    async def answer(request: Any, call: Call) -> Any:
        return wrong

    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        call = getattr(ProbeStub(channel), name)(Echo())
        error = await failure(call if name == "GetEcho" else call.read())

    assert error.code() is grpc.StatusCode.INTERNAL
    assert (error.details() or "").startswith("internal error; request id ")


async def test_a_method_that_the_servicer_lacks_is_unimplemented() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        told = from_rpc_error(await failure(ProbeStub(channel).GetNothing(Echo())))

    assert (told.code, told.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    assert told.message == "/keybridge.probe.v1.Probe/GetNothing is not served by this build."


@pytest.mark.parametrize("path", ["/keybridge.probe.v1.Probe/GetEchoes", "/other.Service/Do", "/x"])
async def test_a_method_that_nobody_knows_is_refused_like_any_call(path: str) -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        told = from_rpc_error(await failure(raw_call(channel, path, b"\xff")))

    assert (told.code, told.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")


@pytest.mark.parametrize("name", ["GetEcho", "WatchEcho", "SendEchoes", "TalkEcho"])
async def test_what_a_caller_may_not_ask_for_is_refused_in_every_kind_of_call(name: str) -> None:
    asked: list[set[str]] = []

    def tenancy(fields: Collection[str]) -> Callable[[Any, Call], None]:
        asked.append(set(fields))

        def refuse_foreign(request: Any, call: Call) -> None:
            if request.text == "theirs":
                raise NotFound(f"There is none, says {call.method.name}.")

        return refuse_foreign

    probe = Probe()
    service = Service(PROBE, probe, tenancy=tenancy)
    server = Server([service], quick())
    await server.start()
    requests = [
        Malformed(PROBE.methods_by_name[name], "", Echo(text=text).SerializeToString())
        for text in ("theirs", "mine")
    ]
    try:
        async with plain_channel(server.port) as channel:
            assert [await send(channel, each) for each in requests] == [
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.OK,
            ]
    finally:
        await server.stop()
    assert len(probe.seen) <= 1
    # Once for each method that is served, when the server is built.
    assert asked == [{"text", "number", "data", "children"}] * 5


def test_a_servicer_with_a_method_that_no_contract_has_stops_the_start() -> None:
    class Misspelt(Probe):
        async def GetEchos(self, _request: Any, _call: Call) -> Any:  # noqa: N802
            return Echo()

    with pytest.raises(
        StartupError, match=r"Misspelt serves what keybridge.probe.v1.Probe lacks: GetEchos\."
    ):
        Service(PROBE, Misspelt())


def test_a_servicer_may_have_public_constants_and_private_helpers() -> None:
    class Helped(Probe):
        LIMIT = 3

        def _Helper(self) -> None:  # noqa: N802
            """Not an RPC."""

    Service(PROBE, Helped())


async def test_a_handler_of_the_wrong_kind_stops_the_start() -> None:
    class Blocking:
        def GetEcho(self, _request: Any, _call: Call) -> Any:  # noqa: N802
            return Echo()

    class Single:
        async def WatchEcho(self, _request: Any, _call: Call) -> Any:  # noqa: N802
            return Echo()

    with pytest.raises(StartupError, match=r"Blocking.GetEcho must be async\."):
        Server([Service(PROBE, Blocking())], quick())
    with pytest.raises(StartupError, match=r"Single.WatchEcho must be an async generator\."):
        Server([Service(PROBE, Single())], quick())


async def test_a_stream_s_generator_is_closed_when_its_caller_leaves() -> None:
    ended = asyncio.Event()

    class Watching:
        async def WatchEcho(self, _request: Any, _call: Call) -> Any:  # noqa: N802
            try:
                while True:
                    yield Echo()
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

    async with serving(Watching()) as server, plain_channel(server.port) as channel:
        call = ProbeStub(channel).WatchEcho(Echo())
        await call.read()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)


async def test_an_answer_to_a_caller_who_has_left_is_no_error_of_ours() -> None:
    waiting, left = asyncio.Event(), asyncio.Event()

    class Stubborn:
        async def WatchEcho(self, _request: Any, _call: Call) -> Any:  # noqa: N802
            yield Echo()
            try:
                waiting.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                left.set()
            yield Echo()

    with capture_logs() as logs:
        async with serving(Stubborn()) as server, plain_channel(server.port) as channel:
            call = ProbeStub(channel).WatchEcho(Echo())
            await call.read()
            # The answer can be heard before the server is done with sending it.
            await asyncio.wait_for(waiting.wait(), 10)
            call.cancel()
            await asyncio.wait_for(left.wait(), 10)
            await eventually(lambda: bool(logs), "the call was logged")

    assert [(each["event"], each["code"]) for each in logs] == [("rpc", "CANCELLED")]
