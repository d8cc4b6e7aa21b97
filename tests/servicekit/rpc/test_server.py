"""How the server begins, what it bears, and how it ends."""

import asyncio
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from servicekit.errors import StartupError
from servicekit.rpc.binding import Service
from servicekit.rpc.call import Call
from servicekit.rpc.client import connect
from servicekit.rpc.server import Server
from servicekit.rpc.status import from_rpc_error
from servicekit.values import Address
from tests.support.http2 import REFUSED_STREAM, RST_STREAM, Connection, call_headers, taken_back
from tests.support.pauses import hold
from tests.support.probe import (
    PROBE,
    Echo,
    Probe,
    ProbeStub,
    eventually,
    failure,
    plain_channel,
    quick,
    serving,
)


def server_on(listen: str, **options: Any) -> Server:
    return Server([Service(PROBE, Probe())], quick(listen=Address.parse(listen), **options))


async def test_port_0_takes_a_free_one_and_tells_which() -> None:
    async with serving() as server, plain_channel(server.port) as channel:
        assert server.port > 0
        assert (await ProbeStub(channel).GetEcho(Echo(text="x"))).text == "x"


async def test_a_port_in_use_stops_the_start_with_a_sentence() -> None:
    async with serving() as server:
        with pytest.raises(
            StartupError, match=rf"^Cannot listen on 127.0.0.1:{server.port}: address already in use\.$"
        ):
            await server_on(f"127.0.0.1:{server.port}").start()


async def test_processes_may_share_a_port_when_told_to() -> None:
    first = server_on("127.0.0.1:0", reuse_port=True)
    await first.start()
    second = server_on(f"127.0.0.1:{first.port}", reuse_port=True)
    await second.start()
    assert second.port == first.port
    await first.stop()
    await second.stop()


async def test_an_address_lost_at_the_last_moment_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def free(*_: object, **__: object) -> None:
        """Nobody had it when it was looked at."""

    monkeypatch.setattr("servicekit.ports.require_free", free)
    async with serving() as server:
        with pytest.raises(StartupError, match=rf"^Cannot listen on 127.0.0.1:{server.port}\.$"):
            await server_on(f"127.0.0.1:{server.port}").start()


async def test_a_stop_during_a_hundred_calls_loses_none_and_health_says_so_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = 0
    go_on = asyncio.Event()

    async def answer(request: Any, call: Call) -> Any:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return Echo(text=request.text)

    delay = timedelta(seconds=99)
    delay_over = hold(monkeypatch, delay)
    options = quick(drain_delay=delay, shutdown_grace=timedelta(seconds=60))
    async with serving(Probe(answer), options) as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        health: Any = HealthStub(channel)
        calls = [asyncio.ensure_future(stub.GetEcho(Echo(text=str(number)))) for number in range(100)]
        await eventually(lambda: begun == 100, "all hundred were being served", 30)

        stopping = asyncio.ensure_future(server.stop())
        await asyncio.wait_for(server.draining.wait(), 10)
        for name in ("", PROBE.full_name):
            answered = await health.Check(HealthCheckRequest(service=name))
            assert answered.status == HealthCheckResponse.NOT_SERVING
        late = asyncio.ensure_future(stub.GetEcho(Echo(text="late")))
        await eventually(lambda: begun == 101, "a call that was still on the wire was taken", 30)
        delay_over.set()
        admission: Any = server.chain.admission
        await eventually(lambda: admission.closed, "the drain delay was over", 30)
        go_on.set()

        assert [each.text for each in await asyncio.gather(*calls, late)] == [*map(str, range(100)), "late"]
        await stopping


async def test_after_the_drain_delay_a_new_call_is_told_to_come_again_while_those_begun_finish() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, call: Call) -> Any:
        begun.set()
        await go_on.wait()
        return Echo(text=request.text)

    options = quick(drain_delay=timedelta(milliseconds=1), shutdown_grace=timedelta(seconds=60))
    async with serving(Probe(answer), options) as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        first = asyncio.ensure_future(stub.GetEcho(Echo(text="first")))
        await begun.wait()
        stopping = asyncio.ensure_future(server.stop())
        admission: Any = server.chain.admission
        await eventually(lambda: admission.closed, "the drain delay was over")

        for _ in range(3):
            told = from_rpc_error(await failure(stub.GetEcho(Echo())))
            assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert told.retry_after == timedelta(milliseconds=100)
        health: Any = HealthStub(channel)
        answered = await health.Check(HealthCheckRequest())
        assert answered.status == HealthCheckResponse.NOT_SERVING
        assert not stopping.done()

        go_on.set()
        assert (await first).text == "first"
        await stopping


async def test_what_outlasts_the_grace_is_cancelled() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def answer(request: Any, call: Call) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    options = quick(shutdown_grace=timedelta(milliseconds=50))
    async with serving(Probe(answer), options) as server, plain_channel(server.port) as channel:
        call = asyncio.ensure_future(failure(ProbeStub(channel).GetEcho(Echo())))
        await begun.wait()
        await server.stop()
        assert (await call).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        await asyncio.wait_for(cancelled.wait(), 10)


async def test_a_second_stop_waits_for_the_first() -> None:
    async with serving(options=quick(drain_delay=timedelta(milliseconds=50))) as server:
        await asyncio.gather(server.stop(), server.stop())


async def test_a_stop_that_is_given_up_on_goes_on() -> None:
    async with serving(options=quick(drain_delay=timedelta(milliseconds=100))) as server:
        first = asyncio.ensure_future(server.stop())
        await server.draining.wait()
        first.cancel()
        await server.stop()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", server.port)) != 0


async def test_one_connection_more_than_allowed_is_closed_and_makes_room_for_another_when_it_ends() -> None:
    async with serving(options=quick(max_connections=3)) as server:

        def fill() -> list[bool]:
            with ExitStack() as stack:
                them = [stack.enter_context(Connection(server.port, acknowledge=False)) for _ in range(3)]
                more = stack.enter_context(Connection(server.port, greet=False))
                return [more.is_closed(), *(each.is_closed(0.1) for each in them)]

        assert await asyncio.to_thread(fill) == [True, False, False, False]
        async with plain_channel(server.port) as channel:
            assert (await ProbeStub(channel).GetEcho(Echo(text="x"), wait_for_ready=True)).text == "x"


async def test_a_connection_that_has_come_to_its_age_is_replaced_without_a_call_noticing() -> None:
    peers: set[str] = set()

    async def answer(_request: Any, call: Call) -> Any:
        peers.add(call.context.peer())
        await asyncio.sleep(0.001)
        return Echo()

    options = quick(max_connection_age=timedelta(milliseconds=200))
    async with serving(Probe(answer), options) as server, connect(f"127.0.0.1:{server.port}") as channel:
        stub = channel.stub(ProbeStub)

        async def work() -> None:
            while len(peers) < 4:
                await stub.AddEcho(Echo(), timeout=20)

        await asyncio.gather(*(work() for _ in range(10)))


async def test_a_message_over_the_limit_is_refused() -> None:
    probe = Probe()
    async with serving(probe) as server, plain_channel(server.port) as channel:
        error = await failure(ProbeStub(channel).GetEcho(Echo(children=[Echo(data=bytes(16_384))] * 64)))
        await ProbeStub(channel).GetEcho(Echo(children=[Echo(data=bytes(16_300))] * 64))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(probe.seen) == 1


async def test_headers_over_the_limit_are_refused() -> None:
    probe = Probe()
    async with serving(probe) as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        error = await failure(stub.GetEcho(Echo(), metadata=(("x-large", "x" * 17_000),)))
        await stub.GetEcho(Echo(), metadata=(("x-large", "x" * 15_000),))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(probe.seen) == 1


async def test_a_connection_takes_no_more_streams_than_allowed() -> None:
    waiting = 0
    go_on = asyncio.Event()

    async def answer(request: Any, call: Call) -> Any:
        nonlocal waiting
        waiting += 1
        await go_on.wait()
        return Echo()

    async with (
        serving(Probe(answer), quick(max_concurrent_streams=2)) as server,
        plain_channel(server.port) as channel,
    ):
        stub = ProbeStub(channel)
        calls = [asyncio.ensure_future(stub.GetEcho(Echo())) for _ in range(5)]
        await eventually(lambda: waiting >= 2, "two were being served")
        async with plain_channel(server.port) as another:
            extra = asyncio.ensure_future(ProbeStub(another).GetEcho(Echo()))
            await eventually(lambda: waiting == 3, "another connection was served")
            go_on.set()
            await extra
            # The others wait in the client's library, or are refused while it does not know the limit yet.
            await asyncio.gather(*calls, return_exceptions=True)


async def test_a_client_that_uses_all_places_of_its_connection_is_not_refused_however_fast_it_calls_again() -> (
    None
):
    places, waiting = 20, asyncio.Condition()

    async def answer(_request: Any, _call: Call) -> Any:
        async with waiting:
            # All are answered in one turn, so that none has been cleared away when the next ones come.
            if len(probe.seen) % places == 0:
                waiting.notify_all()
            else:
                await waiting.wait()
        return Echo()

    probe = Probe(answer)
    async with (
        serving(probe, quick(max_concurrent_streams=places)) as server,
        plain_channel(server.port) as channel,
    ):
        health: Any = HealthStub(channel)
        await health.Check(HealthCheckRequest())  # the limit is known to the client from then on
        stub = ProbeStub(channel)
        await asyncio.gather(*(stub.AddEcho(Echo(), timeout=30) for _ in range(50 * places)))


async def test_calls_that_were_reset_are_refused_while_twice_the_places_are_not_cleared_away() -> None:
    places, resets = 10, 200
    headers = call_headers(f"/{PROBE.full_name}/GetEcho")
    async with serving(options=quick(max_concurrent_streams=places)) as server:
        with Connection(server.port) as connection:
            connection.send(taken_back(headers, range(1, 2 * resets, 2)))
            # Nothing is cleared away meanwhile: this is the thread that would have to.
            refused = 0
            with suppress(TimeoutError):
                for each in connection.frames(1):
                    refused += (each.kind, each.payload[-1:]) == (RST_STREAM, bytes([REFUSED_STREAM]))
    assert resets - 2 * places - 2 <= refused <= resets - 2 * places


async def test_a_client_that_pings_too_often_is_sent_away() -> None:
    pinging = [
        ("grpc.keepalive_time_ms", 20),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    probe = Probe(lambda _request, _call: asyncio.Event().wait())
    async with serving(probe) as server, plain_channel(server.port, *pinging) as channel:
        error = await asyncio.wait_for(failure(ProbeStub(channel).GetEcho(Echo())), 30)

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "pings" in (error.details() or "")


def test_nothing_is_printed_about_a_port_in_use() -> None:
    script = (
        "import asyncio, socket\n"
        "from servicekit.rpc.server import Server\n"
        "from tests.support.probe import quick\n"
        "from servicekit.errors import StartupError\n"
        "from servicekit.values import Address\n"
        "async def main():\n"
        "    with socket.socket() as other:\n"
        "        other.bind(('127.0.0.1', 0)); other.listen()\n"
        "        taken = Address('127.0.0.1', other.getsockname()[1])\n"
        "        try: await Server([], quick(listen=taken)).start()\n"
        "        except StartupError: return\n"
        "    raise SystemExit(9)\n"
        "asyncio.run(main())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
