"""What the chain costs: a unary echo through all of it against the same echo on a bare server, by turns.

``python -m benchmarks.rpc_chain [--uvloop]``; client and servers share the process, the log is at WARNING.
"""

import asyncio
import logging
import statistics
import sys
import time
from typing import Any

import grpc
import structlog
import uvloop

from tests.support.probe import PROBE, Echo, ProbeStub, plain_channel, serving

ROUNDS, WORKERS, CALLS_EACH = 20, 50, 40


async def bare_echo(request: Any, _context: Any) -> Any:
    """What the probe does, with nothing around it."""
    return Echo(text=request.text)


async def rate(stub: ProbeStub) -> float:
    """Calls a second with all workers at it."""

    async def work() -> None:
        for _ in range(CALLS_EACH):
            await stub.GetEcho(Echo(text="x"), timeout=20)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return WORKERS * CALLS_EACH / (time.perf_counter() - started)


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    bare = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(bare_echo, Echo.FromString, Echo.SerializeToString)
    bare.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(PROBE.full_name, {"GetEcho": handler})]
    )
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    async with serving() as full, plain_channel(port) as one, plain_channel(full.port) as other:
        stubs = {"bare": ProbeStub(one), "chain": ProbeStub(other)}
        rates: dict[str, list[float]] = {name: [] for name in stubs}
        for _ in range(ROUNDS):
            for name, stub in stubs.items():
                rates[name].append(await rate(stub))
    await bare.stop(None)
    # The first two rounds warm up.
    without, through = (statistics.median(rates[name][2:]) for name in ("bare", "chain"))
    print(f"bare {without:.0f}/s, through the chain {through:.0f}/s: {through / without:.0%}")


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        uvloop.run(main())
    else:
        asyncio.run(main())
