"""``python -m tests.simulator --port N``: serve until SIGINT or SIGTERM, with a demo account at each exchange."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping

from tests.simulator.markets import NAMED
from tests.simulator.simulator import Simulator

BALANCES = {"USDT": "10000", "BTC": "0.12345678901234567890", "SHARP": "1000"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on loopback; by default any that is free")
    parser.add_argument("--markets", type=int, default=len(NAMED), help="of each exchange")
    return parser.parse_args()


async def main(port: int, market_count: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Simulator(port=port, market_count=market_count) as simulator:
        for exchange, url in simulator.urls.items():
            keys = simulator.add_account(exchange, balances=BALANCES)
            demo = {"exchange": exchange, "url": url, "api_key": keys.api_key, "secret": keys.secret}
            # Made up a moment ago and worth nothing: whoever starts a simulator needs them.
            say({**demo, "passphrase": keys.passphrase} if keys.passphrase else demo)
        say({"ready": True, "urls": simulator.urls})
        await stopped.wait()


def say(line: Mapping[str, object]) -> None:
    """One JSON object a line, for people and programs."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    options = arguments()
    asyncio.run(main(options.port, options.markets))
