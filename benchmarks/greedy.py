"""What one principal waits while another one calls ten times as often as it may, beside what it waits otherwise.

``python -m benchmarks.greedy``. The server is a process of its own with the default limits and the default log, and so
is the greedy caller, who keeps to his ten times whatever he is answered. He writes frames by hand: a client of gRPC's
would take most of a core for itself, so that who shares the machine waits for him and not for the server. How long one
waits for him alone is seen, too: in each round he also calls another server of the same kind.

Aim: a p99 below twice the quiet one, as the median over interleaved rounds, while he has one connection, as most
clients have, and while he has twenty. The exit status is 1 when one is missed, and when the greedy one was not that
greedy.
"""

import asyncio
import contextlib
import gc
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from operator import truediv
from typing import IO

import uvloop

from servicekit import logs
from servicekit.limits import LimitSettings
from servicekit.rpc.call import Call, Principal
from servicekit.rpc.policy import Policy
from servicekit.v1 import policy_pb2
from tests.support import http2
from tests.support.probe import PROBE, Echo, ProbeStub, plain_channel, quick, serving

ROUNDS, SECONDS, PAUSE, AIM = 8, 2.5, 0.01, 2.0
GREED = 10 * LimitSettings.model_fields["principal_rate"].default
STREAMS = LimitSettings.model_fields["max_concurrent_streams"].default
FEW, MANY = 1, 20
# In so many seconds of greed nothing is left of what he may do at once.
SOON = 2.0
NAME = "x-name"


class Trusting:
    """Takes callers for whom they say they are."""

    async def authorize(self, call: Call, _policy: Policy, /) -> Principal | None:
        return Principal(call.header(NAME) or "nobody", policy_pb2.ROLE_READER, None)


async def serve() -> None:
    logs.configure()
    gc.freeze()  # as a service does once it has started
    options = replace(quick(), max_concurrent_streams=STREAMS)
    async with serving(options=options, authorizer=Trusting()) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def be_greedy(port: int, connections: int) -> None:
    """Ten times the rate, by the clock and not by the answers, until the input ends; then how often it was."""
    reading = threading.Thread(target=sys.stdin.read, daemon=True)
    reading.start()
    path = f"/{PROBE.full_name}/GetEcho"
    headers = http2.call_headers(path, (NAME, "greedy"), ("grpc-timeout", "5S"))
    message = Echo(text="x").SerializeToString()
    request = b"\0" + len(message).to_bytes(4, "big") + message

    def call(number: int) -> bytes:
        stream = 2 * (number // connections) + 1
        begin = http2.frame(http2.HEADERS, headers, flags=http2.END_HEADERS, stream=stream)
        return begin + http2.frame(http2.DATA, request, flags=http2.END_STREAM, stream=stream)

    with contextlib.ExitStack() as stack:
        them = [stack.enter_context(http2.Connection(port)) for _ in range(connections)]
        begun, made, at_speed = time.monotonic(), 0, False
        while reading.is_alive():
            due = int((time.monotonic() - begun) * GREED)
            for number in range(made, due):
                them[number % connections].send(call(number))
            made = due
            for each in them:
                each.forget_answers()
            if not at_speed and made > SOON * GREED:
                at_speed = True
                print("at full speed", flush=True)
            time.sleep(0.005)
        print(made / (time.monotonic() - begun), flush=True)


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


class Child:
    """This program in another role, which ends when its input does."""

    def __init__(self, *argv: str) -> None:
        command = [sys.executable, "-m", "benchmarks.greedy", *argv]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True)

    def said(self) -> str:
        """The next line that it says."""
        stdout: IO[str] | None = self._process.stdout
        assert stdout is not None
        return stdout.readline().strip()

    def end(self) -> str:
        """What it says at its end."""
        return self._process.communicate()[0].strip()


@contextlib.contextmanager
def server() -> Iterator[int]:
    child = Child("serve")
    try:
        yield int(child.said())
    finally:
        child.end()


def beside_greed(port: int, calls_to: int, connections: int) -> tuple[float, float]:
    """What is waited for meanwhile, and how many calls a second the greedy one made."""
    greedy = Child("greedy", str(calls_to), str(connections))
    try:
        greedy.said()
        waited = uvloop.run(p99(port))
    finally:
        made = greedy.end()
    return waited, float(made)


def main() -> int:
    quiet: list[float] = []
    made: list[float] = []
    with server() as port, server() as other:
        cases = {
            f"beside {FEW} connection (aim below {AIM:g})": (port, FEW),
            f"beside {MANY} connections (aim below {AIM:g})": (port, MANY),
            "while he calls another server": (other, MANY),
        }
        waited: dict[str, list[float]] = {name: [] for name in cases}
        uvloop.run(p99(port))  # warms up
        for _ in range(ROUNDS):
            quiet.append(uvloop.run(p99(port)))
            for name, (calls_to, connections) in cases.items():
                one, calls = beside_greed(port, calls_to, connections)
                waited[name].append(one)
                made.append(calls)
    print(
        f"p99 {statistics.median(quiet):.2f} ms; with {min(made):.0f} calls/s, the median of {ROUNDS} rounds:"
    )
    ratios = [statistics.median(map(truediv, them, quiet)) for them in waited.values()]
    for (name, them), ratio in zip(waited.items(), ratios, strict=True):
        print(f"  {name:38}{statistics.median(them):8.2f} ms{ratio:7.2f} times")
    return 0 if max(ratios[:2]) < AIM and min(made) > 0.9 * GREED else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            uvloop.run(serve())
        case ["greedy", port, connections]:
            be_greedy(int(port), int(connections))
        case _:
            sys.exit(main())
