"""A channel: deadlines, retries of reads, and what goes along with every call."""

import asyncio
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest

from servicekit.errors import StartupError, Unavailable
from servicekit.rpc.bearer import bearer
from servicekit.rpc.call import Call
from servicekit.rpc.client import ChannelOptions, connect, is_read, service_config
from servicekit.values import Address
from tests.support.probe import PROBE, Echo, Probe, ProbeStub, failure, quick, serving
from tests.support.service_process import free_port


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.mark.parametrize(("options", "most"), [(None, 30), (ChannelOptions(timeout=timedelta(seconds=4)), 4)])
async def test_a_call_without_a_deadline_gets_the_channel_s(probe: Probe, options: Any, most: float) -> None:
    async with serving(probe) as server, connect(f"127.0.0.1:{server.port}", options=options) as channel:
        await channel.stub(ProbeStub).GetEcho(Echo())
        left = probe.seen[0].context.time_remaining()

    assert most - 2 < left <= most * 1.01  # on the wire it is rounded


async def test_a_call_s_own_deadline_counts(probe: Probe) -> None:
    async with serving(probe) as server, connect(f"127.0.0.1:{server.port}") as channel:
        await channel.stub(ProbeStub).GetEcho(Echo(), timeout=3)

    assert probe.seen[0].context.time_remaining() < 4


async def test_a_stream_has_a_deadline_too(probe: Probe) -> None:
    async with serving(probe) as server, connect(f"127.0.0.1:{server.port}") as channel:
        stub = channel.stub(ProbeStub)
        watch = stub.WatchEcho(Echo())
        await watch.read()
        assert 3500 < probe.seen[0].context.time_remaining() < 3700
        watch.cancel()
        assert (await stub.SendEchoes(iter([Echo(text="a")]))).text == "a"
        assert [each.text async for each in stub.TalkEcho(iter([Echo(text="b")]))] == ["b"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_a_deadline_in_the_past_is_refused(seconds: float) -> None:
    async with connect("127.0.0.1:1") as channel:
        with pytest.raises(ValueError, match="needs a deadline in the future"):
            channel.stub(ProbeStub).GetEcho(Echo(), timeout=seconds)


class Failing:
    """Unavailable for the first calls, then well."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    async def answer(self, _request: Any, _call: Call) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise Unavailable("Not now.")
        return Echo(text="well")


async def test_a_read_is_repeated_while_the_server_is_unavailable() -> None:
    failing = Failing(2)
    async with (
        serving(Probe(failing.answer)) as server,
        connect(f"127.0.0.1:{server.port}", PROBE) as channel,
    ):
        assert (await channel.stub(ProbeStub).GetEcho(Echo())).text == "well"

    assert failing.calls == 3


async def test_a_read_is_given_up_after_the_third_time() -> None:
    failing = Failing(5)
    async with (
        serving(Probe(failing.answer)) as server,
        connect(f"127.0.0.1:{server.port}", PROBE) as channel,
    ):
        error = await failure(channel.stub(ProbeStub).GetEcho(Echo()))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert failing.calls == 3


async def test_a_read_that_a_stopping_server_cancelled_is_repeated() -> None:
    calls = 0

    async def answer(_request: Any, call: Call) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            await call.context.abort(grpc.StatusCode.CANCELLED)
        return Echo(text="well")

    async with serving(Probe(answer)) as server, connect(f"127.0.0.1:{server.port}", PROBE) as channel:
        assert (await channel.stub(ProbeStub).GetEcho(Echo())).text == "well"

    assert calls == 2


async def test_a_write_is_never_repeated() -> None:
    failing = Failing(2)
    async with (
        serving(Probe(failing.answer)) as server,
        connect(f"127.0.0.1:{server.port}", PROBE) as channel,
    ):
        error = await failure(channel.stub(ProbeStub).AddEcho(Echo()))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert failing.calls == 1


async def test_a_contract_that_was_not_named_is_not_repeated() -> None:
    failing = Failing(1)
    async with serving(Probe(failing.answer)) as server, connect(f"127.0.0.1:{server.port}") as channel:
        await failure(channel.stub(ProbeStub).GetEcho(Echo()))

    assert failing.calls == 1


def test_only_unary_methods_that_get_or_list_are_reads() -> None:
    assert [method.name for method in PROBE.methods if is_read(method)] == ["GetEcho", "GetNothing"]


def test_the_predicate_of_reads_can_be_another() -> None:
    config = service_config([PROBE], 3, lambda method: method.name == "AddEcho")

    assert config["methodConfig"][0]["name"] == [{"service": "keybridge.probe.v1.Probe", "method": "AddEcho"}]
    assert config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert "methodConfig" not in service_config([PROBE], 1, is_read)
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]


async def test_the_request_id_goes_from_service_to_service(probe: Probe) -> None:
    async with serving(probe) as behind, connect(f"127.0.0.1:{behind.port}") as onward:

        async def hand_on(request: Any, call: Call) -> Any:
            return await onward.stub(ProbeStub).GetEcho(request)

        async with serving(Probe(hand_on)) as front, connect(f"127.0.0.1:{front.port}") as channel:
            call = channel.stub(ProbeStub).GetEcho(Echo(), metadata=(("x-request-id", "from-afar"),))
            await call
            returned = dict(await call.trailing_metadata())["x-request-id"]

    assert probe.seen[0].request_id == returned == "from-afar"


async def test_a_request_id_that_the_caller_names_is_not_replaced(probe: Probe) -> None:
    async with serving(probe) as behind, connect(f"127.0.0.1:{behind.port}") as onward:

        async def hand_on(request: Any, call: Call) -> Any:
            return await onward.stub(ProbeStub).GetEcho(request, metadata=(("x-request-id", "another"),))

        async with serving(Probe(hand_on)) as front, connect(f"127.0.0.1:{front.port}") as channel:
            await channel.stub(ProbeStub).GetEcho(Echo())

    assert probe.seen[0].request_id == "another"


async def test_metadata_goes_with_every_call(probe: Probe) -> None:
    async with (
        serving(probe) as server,
        connect(f"127.0.0.1:{server.port}", metadata=(("x-token", "fixed"),)) as channel,
    ):
        await channel.stub(ProbeStub).GetEcho(Echo(), metadata=(("x-other", "own"),))

    assert probe.seen[0].header("x-token") == "fixed"
    assert probe.seen[0].header("x-other") == "own"


async def test_a_callable_is_asked_for_metadata_each_time() -> None:
    tokens = iter(["first", "second"])
    heard: list[str | None] = []

    async def answer(request: Any, call: Call) -> Any:
        heard.append(call.header("x-token"))
        return Echo()

    async with (
        serving(Probe(answer)) as server,
        connect(f"127.0.0.1:{server.port}", metadata=lambda: (("x-token", next(tokens)),)) as channel,
    ):
        await channel.stub(ProbeStub).GetEcho(Echo())
        await channel.stub(ProbeStub).GetEcho(Echo())

    assert heard == ["first", "second"]


async def test_a_target_may_name_its_resolver_and_a_proxy_of_the_environment_is_passed_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    async with serving() as server:
        for target in (
            f"ipv4:127.0.0.1:{server.port}",
            f"dns:///localhost:{server.port}",
            f"localhost:{server.port}",
        ):
            async with connect(target) as channel:
                assert (await channel.stub(ProbeStub).GetEcho(Echo(text="x"), timeout=5)).text == "x"


async def test_a_server_that_comes_up_is_found_soon() -> None:
    took: list[float] = []
    # A busy machine may hold up some of the tries, but not all.
    while len(took) < 10 and not any(each < 0.6 for each in took):
        address = Address("127.0.0.1", free_port())
        async with connect(str(address)) as channel:
            await failure(channel.stub(ProbeStub).GetEcho(Echo()))
            async with serving(options=quick(listen=address)):
                begun = monotonic()
                await asyncio.wait_for(channel.channel_ready(), 10)
                took.append(monotonic() - begun)
    assert min(took) < 0.6


async def test_a_channel_tells_its_state() -> None:
    async with serving() as server, connect(f"127.0.0.1:{server.port}") as channel:
        assert channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.IDLE
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE), 10)
        await asyncio.wait_for(channel.channel_ready(), 10)
        assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_a_token_goes_along_and_a_renewed_one_instead(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    heard: list[str | None] = []

    async def answer(_request: Any, call: Call) -> Any:
        heard.append(call.header("authorization"))
        return Echo()

    async with (
        serving(Probe(answer)) as server,
        connect(f"127.0.0.1:{server.port}", metadata=bearer(file, timedelta(0))) as channel,
    ):
        stub = channel.stub(ProbeStub)
        await stub.GetEcho(Echo())
        file.write_text("the second")
        await stub.GetEcho(Echo())
        file.write_text("second\n")
        await stub.GetEcho(Echo())
    assert heard == ["Bearer first", "Bearer first", "Bearer second"]


@pytest.mark.parametrize("text", ["", "\n", "two tokens", "t\u00f6ken", "a\nb"])
def test_a_file_without_one_token_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(StartupError, match="it should hold one token and nothing else"):
        bearer(tmp_path / "token")
