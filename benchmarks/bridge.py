"""AddConnector beside a raw echo, and one exchange's portfolios while a thousand calls hang on another.

``python -m benchmarks.bridge [--uvloop]``; client and servers share the process, exchanges answer from memory, the
log is at WARNING. Aims: 40 % of the echo rate, and a p99 within 1.5 times, the median of ten interleaved pairs.
"""

import asyncio
import itertools
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import structlog
import uvloop

from bridgeservice.exchanges.exchange import Environment
from bridgeservice.records import Connector
from bridgeservice.v1 import trading_bridge_pb2 as pb
from servicekit.credentials import Credentials
from tests.support.bridge_service import Bridge, connector_request, running
from tests.support.fake_exchanges import FakeExchange
from tests.support.probe import PROBE, Echo, ProbeStub, eventually, plain_channel

ROUNDS, WORKERS, CALLS_EACH = 12, 50, 40
PAIRS, READS, HANGING = 10, 800, 1000

Work = Callable[[], Awaitable[object]]


async def bare_echo(request: Any, _context: Any) -> Any:
    """What the probe does, with nothing around it."""
    return Echo(text=request.text)


async def rate(work: Work) -> float:
    """Calls a second with all workers at it."""

    async def work_on() -> None:
        for _ in range(CALLS_EACH):
            await work()

    started = time.perf_counter()
    await asyncio.gather(*(work_on() for _ in range(WORKERS)))
    return WORKERS * CALLS_EACH / (time.perf_counter() - started)


async def adding(bridge: Bridge) -> None:
    """Every push is a new connector of one of many accounts."""
    bare = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(bare_echo, Echo.FromString, Echo.SerializeToString)
    bare.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(PROBE.full_name, {"GetEcho": handler})]
    )
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    numbers = itertools.count(1)
    # Made beforehand, because making credentials is the client's work and not what is measured.
    requests = [
        connector_request("kraken:main", number, account_name=f"client_{number:036}")
        for number in itertools.islice(numbers, ROUNDS * WORKERS * CALLS_EACH)
    ]
    async with plain_channel(port) as channel:
        stub = ProbeStub(channel)
        ways: dict[str, Work] = {
            "bare": lambda: stub.GetEcho(Echo(text="x"), timeout=20),
            "add": lambda: bridge.stub.AddConnector(requests.pop(), timeout=20),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, work in ways.items():
                rates[name].append(await rate(work))
    await bare.stop(None)
    # The first two rounds warm up.
    echo, add = (statistics.median(rates[name][2:]) for name in ("bare", "add"))
    print(f"raw echo {echo:.0f}/s, AddConnector {add:.0f}/s: {add / echo:.0%}")


async def p99(bridge: Bridge) -> float:
    """Of GetPortfolio on the exchange that answers, one call after the other, in milliseconds."""
    took = []
    for _ in range(READS):
        started = time.perf_counter()
        [entry] = (await bridge.portfolio(account_name="well")).connectors
        took.append(time.perf_counter() - started)
        assert not entry.error
    return statistics.quantiles(took, n=100)[98] * 1000


def hang(exchange: FakeExchange, due: int) -> bool:
    return exchange.asked["balances"] == due


async def hanging(bridge: Bridge) -> None:
    """Pairs of the same reads, with and without a thousand calls that hang on another exchange."""
    for number in range(HANGING):
        name = f"stuck {number}"
        bridge.accounts.add(Connector(name, "kraken", "kraken", Environment.LIVE, Credentials(), 1))
    await bridge.add("gate", account_name="well")
    stuck = bridge.exchanges["kraken"]
    ratios = []
    await p99(bridge)
    for _ in range(PAIRS):
        alone = await p99(bridge)
        stuck.gate = asyncio.Event()
        requests = [pb.GetPortfolioRequest(account_name=f"stuck {number}") for number in range(HANGING)]
        due = stuck.asked["balances"] + HANGING
        calls = [asyncio.ensure_future(bridge.stub.GetPortfolio(each, timeout=60)) for each in requests]
        await eventually(partial(hang, stuck, due), "all hang", 60)
        ratios.append(await p99(bridge) / alone)
        stuck.gate.set()
        await asyncio.gather(*calls)
    print(f"p99 beside {HANGING} calls that hang: {statistics.median(ratios):.2f} times that without them")


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with running(max_concurrent_streams=10_000) as bridge:
        await adding(bridge)
    async with running(max_concurrent_streams=10_000) as bridge:
        await hanging(bridge)


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        uvloop.run(main())
    else:
        asyncio.run(main())
