"""What a connector costs at rest and in use, beside ccxt objects made the ordinary way in the same process.

``python -m benchmarks.connectors [EXCHANGE …]``. The exchange is a simulator with 4,000 markets. A connector in use
has read its balance and its permissions over HTTP. Memory is what Python allocated, by tracemalloc; time is
processor time, taken without it.
"""

import asyncio
import gc
import secrets
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ccxt.async_support as ccxt

from bridgeservice.exchanges import templates
from bridgeservice.exchanges.ccxt_exchange import CcxtExchange
from bridgeservice.exchanges.exchange import Owner
from servicekit.credentials import Credentials
from tests.simulator.simulator import Simulator
from tests.support.exchanges import QUICK, connected, session

MARKETS, AT_REST, TIMED, USED, NAIVE = 4_000, 10_000, 2_000, 200, 3
PACED = 40

KB_AT_REST, KB_IN_USE, MS_IN_USE = 2.0, 30.0, 0.5


@dataclass(slots=True)
class Spent:
    """Kilobytes that were allocated in a block and are still held after it."""

    kilobytes: float = 0


@contextmanager
def held() -> Iterator[Spent]:
    spent = Spent()
    gc.collect()
    tracemalloc.start()
    try:
        yield spent
        gc.collect()
        spent.kilobytes = tracemalloc.get_traced_memory()[0] / 1024
    finally:
        tracemalloc.stop()


def any_credentials() -> Credentials:
    return Credentials(
        api_key=secrets.token_hex(32), api_secret=secrets.token_hex(32), passphrase=secrets.token_hex(8)
    )


def at_rest(exchange: CcxtExchange) -> float:
    """Kilobytes of a session that was never used, its credentials included."""
    with held() as spent:
        kept = [
            exchange.session(any_credentials(), Owner(f"client_{number}", exchange.id))
            for number in range(AT_REST)
        ]
    return spent.kilobytes / len(kept)


def milliseconds_to_make(template: Any) -> float:
    """What the first use adds, before anything is sent: the best of five rounds, as the machine is shared."""
    own = any_credentials()
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(TIMED // 5):
            templates.connect(template, own)
        rounds.append((time.process_time() - began) / (TIMED // 5))
    return min(rounds) * 1000


async def in_use(exchange: CcxtExchange, simulator: Simulator) -> float:
    """Kilobytes of a session that has read its balance and its permissions."""
    sessions = [session(exchange, simulator, balances={"BTC": "1", "USDT": "2"}) for _ in range(USED)]
    await sessions.pop().permissions()  # opens the connection
    with held() as spent:
        for own in sessions:
            await own.balances()
            await own.permissions()
        simulator.seen.clear()
    return spent.kilobytes / len(sessions)


def naive(exchange_id: str, template: Any) -> tuple[float, float]:
    """Kilobytes and milliseconds of a ccxt object with markets of its own, whose descriptions it was handed."""

    def make() -> Any:
        own = getattr(ccxt, exchange_id)({"apiKey": secrets.token_hex(32), "secret": secrets.token_hex(32)})
        own.set_markets(list(template.markets.values()), template.currencies)
        return own

    began = time.process_time()
    for _ in range(NAIVE):
        make()
    milliseconds = (time.process_time() - began) / NAIVE * 1000
    with held() as spent:
        kept = [make() for _ in range(NAIVE)]
    return spent.kilobytes / len(kept), milliseconds


async def measure(exchange_id: str) -> bool:
    """Print the figures of one exchange; whether they are what was promised."""
    async with Simulator(market_count=MARKETS) as simulator, connected(simulator, exchange_id) as exchange:
        began = time.perf_counter()
        template = (await exchange.loaded()).template
        load = time.perf_counter() - began
        made = milliseconds_to_make(template)
        resting = at_rest(exchange)
        used = await in_use(exchange, simulator)
        naive_kilobytes, naive_milliseconds = naive(exchange_id, template)
    print(
        f"{exchange_id:8} {len(template.markets):6} {load:7.2f} s {resting:9.2f} KB {used:9.1f} KB {made:8.3f} ms"
        f" {naive_kilobytes:10.0f} KB {naive_milliseconds:8.1f} ms"
    )
    return resting <= KB_AT_REST and used <= KB_IN_USE and made <= MS_IN_USE


async def one_limit() -> bool:
    """Two connectors that ask as often as they may: how often the exchange was asked."""
    async with (
        Simulator() as simulator,
        connected(simulator, "okx", replace(QUICK, rate_share=2)) as exchange,
    ):
        interval: float = (await exchange.loaded()).template.rateLimit / 2 / 1000
        pair = [session(exchange, simulator) for _ in range(2)]
        await asyncio.gather(*(own.balances() for own in pair for _ in range(PACED // 2)))
        times = [request.monotonic for request in simulator.seen.requests("okx", "account/balance")]
    rate = (len(times) - 1) / (times[-1] - times[0])
    print(f"two connectors of okx together: {rate:.1f} requests a second, {1 / interval:.1f} are allowed")
    return rate * interval <= 1.1


async def main(exchange_ids: list[str]) -> int:
    print(
        f"{'':8} {'markets':>6} {'loaded':>8} {'at rest':>12} {'in use':>12} {'made in':>11}"
        f" {'naive':>13} {'made in':>11}"
    )
    kept = [await measure(exchange_id) for exchange_id in exchange_ids]
    kept.append(await one_limit())
    if not all(kept):
        print(
            f"The promise is {KB_AT_REST} KB at rest, {KB_IN_USE} KB and {MS_IN_USE} ms in use, and one limit."
        )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:] or ["binance", "kraken", "okx", "kucoin", "gate"])))
