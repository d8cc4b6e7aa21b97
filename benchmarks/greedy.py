"""What one principal waits while another one calls ten times as often as it may, beside what it waits otherwise.

``python -m benchmarks.greedy``. The server is a process of its own with the default limits, and so is the greedy
caller, who keeps to his ten times whatever he is answered. Aim: a p99 below twice the quiet one, the median of ten
interleaved pairs. The exit status is 1 when it is missed.
"""

import asyncio
import contextlib
import logging
import statistics
import subprocess
import sys
import time

import grpc
import structlog
import uvloop

from servicekit.limits import LimitSettings
from servicekit.rpc.call import Call, Principal
from servicekit.rpc.policy import Policy
from servicekit.v1 import policy_pb2
from tests.support.probe import Echo, ProbeStub, plain_channel, serving

PAIRS, SECONDS, PAUSE, AIM = 10, 3.0, 0.01, 2.0
GREED = 10 * LimitSettings.model_fields["principal_rate"].default
NAME = "x-name"


class Trusting:
    """Takes callers for whom they say they are."""

    async def authorize(self, call: Call, _policy: Policy, /) -> Principal | None:
        return Principal(call.header(NAME) or "nobody", policy_pb2.ROLE_READER, None)


async def serve() -> None:
    async with serving(authorizer=Trusting()) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def be_greedy(port: int) -> None:
    """Ten times the rate, by the clock and not by the answers, until the input ends."""
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with plain_channel(port) as channel:
        stub = ProbeStub(channel)

        async def call() -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.GetEcho(Echo(text="x"), metadata=((NAME, "greedy"),), timeout=5)

        begun, made = time.monotonic(), 0
        async with asyncio.TaskGroup() as calls:
            while not over.done():
                for _ in range(made, int((time.monotonic() - begun) * GREED)):
                    calls.create_task(call())
                    made += 1
                await asyncio.sleep(0.005)


async def p99(port: int) -> float:
    """Of the other one's calls, one after the other, in milliseconds."""
    took = []
    async with plain_channel(port) as channel:
        stub = ProbeStub(channel)
        until = time.perf_counter() + SECONDS
        while (begun := time.perf_counter()) < until:
            await stub.GetEcho(Echo(text="x"), metadata=((NAME, "modest"),), timeout=20)
            took.append(time.perf_counter() - begun)
            await asyncio.sleep(PAUSE)
    return statistics.quantiles(took, n=100)[98] * 1000


def child(*argv: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.greedy", *argv]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> int:
    server = child("serve")
    assert server.stdout is not None
    port = int(server.stdout.readline())
    pairs: list[tuple[float, float]] = []
    try:
        uvloop.run(p99(port))  # warms up
        for _ in range(PAIRS):
            quiet = uvloop.run(p99(port))
            greedy = child("greedy", str(port))
            time.sleep(1)  # until it is at full speed
            pairs.append((quiet, uvloop.run(p99(port))))
            greedy.communicate()
    finally:
        server.communicate()
    ratio = statistics.median(greedy / quiet for quiet, greedy in pairs)
    before, meanwhile = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"p99 {before:.2f} ms, beside {GREED:.0f} calls/s of a greedy one {meanwhile:.2f} ms: {ratio:.2f} times "
        f"(median of {PAIRS} pairs, aim below {AIM:g})"
    )
    return 0 if ratio < AIM else 1


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    match sys.argv[1:]:
        case ["serve"]:
            uvloop.run(serve())
        case ["greedy", port]:
            uvloop.run(be_greedy(int(port)))
        case _:
            sys.exit(main())
