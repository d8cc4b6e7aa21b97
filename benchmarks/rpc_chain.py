"""What the chain costs: a unary echo through all of it against the same echo on a bare server, by turns.

Through the chain twice: where nobody is asked who he is, and where a token says so with each call; and what it takes
to verify one that was not seen before.

``python -m benchmarks.rpc_chain [--uvloop]``; client and servers share the process, the log is at WARNING.
"""

import asyncio
import logging
import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import structlog
import uvloop

from servicekit.rpc.auth import Authenticated
from servicekit.rpc.interceptors import Authorizer
from servicekit.rpc.tokens import TokenOptions, Tokens
from tests.support.issuer import Issuer, bearing
from tests.support.probe import PROBE, Echo, ProbeStub, plain_channel, quick, serving

ROUNDS, WORKERS, CALLS_EACH = 20, 50, 40
VERIFICATIONS = 500


async def bare_echo(request: Any, _context: Any) -> Any:
    """What the probe does, with nothing around it."""
    return Echo(text=request.text)


async def rate(stub: ProbeStub, metadata: Any) -> float:
    """Calls a second with all workers at it."""

    async def work() -> None:
        for _ in range(CALLS_EACH):
            await stub.GetEcho(Echo(text="x"), metadata=metadata, timeout=20)

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
    with TemporaryDirectory() as folder:
        issuer = Issuer()
        options = token_options(Path(folder) / "jwks.json", issuer)
        await compare(port, Authenticated(tokens=Tokens(options)), bearing(issuer.token()))
        print(f"a token that was not seen before: {verification(options, issuer) * 1e6:.0f} µs")
    await bare.stop(None)


async def compare(bare_port: int, authorizer: Authorizer, brings: Any) -> None:
    async with AsyncExitStack() as stack:
        open_server = await stack.enter_async_context(serving())
        # Whoever says who he is has a limit of calls a second, far below what is measured.
        unlimited = quick(limits=replace(quick().limits, rate=0))
        asking_server = await stack.enter_async_context(serving(options=unlimited, authorizer=authorizer))
        cases = {
            name: (ProbeStub(await stack.enter_async_context(plain_channel(port))), metadata)
            for name, port, metadata in (
                ("bare", bare_port, ()),
                ("chain", open_server.port, ()),
                ("token", asking_server.port, brings),
            )
        }
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, (stub, metadata) in cases.items():
                rates[name].append(await rate(stub, metadata))
    # The first two rounds warm up.
    without, through, asked = (statistics.median(rates[name][2:]) for name in cases)
    print(
        f"bare {without:.0f}/s, through the chain {through:.0f}/s: {through / without:.0%}; "
        f"with a token {asked:.0f}/s: {asked / through:.1%} of that"
    )


def token_options(jwks_file: Path, issuer: Issuer) -> TokenOptions:
    issuer.write(jwks_file)
    return TokenOptions(
        jwks_file=jwks_file, issuer="keybridge", audience="keyservice", leeway=timedelta(seconds=10)
    )


def verification(options: TokenOptions, issuer: Issuer) -> float:
    """Seconds that one takes, in the middle."""
    took = []
    tokens = Tokens(options)
    for token in [issuer.token() for _ in range(VERIFICATIONS)]:
        started = time.perf_counter()
        tokens.principal(token)
        took.append(time.perf_counter() - started)
    return statistics.median(took)


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        uvloop.run(main())
    else:
        asyncio.run(main())
