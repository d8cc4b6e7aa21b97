"""A simulator for each test, and real ccxt exchanges that talk to it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.simulator.accounts import AccountKeys
from tests.simulator.pointing import Connect, connected
from tests.simulator.simulator import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture(scope="session")
def loaded() -> dict[str, Any]:
    """Exchanges that have loaded their markets, by name: once is enough for all tests."""
    return {}


@pytest.fixture
async def connect(simulator: Simulator, loaded: dict[str, Any]) -> AsyncIterator[Connect]:
    opened = []

    async def connect(name: str, keys: AccountKeys | None = None) -> Any:
        if name not in loaded:
            loaded[name] = connected(name, simulator.url(name))
            opened.append(loaded[name])
            await loaded[name].load_markets()
        exchange = connected(name, simulator.url(name), keys)
        opened.append(exchange)
        exchange.set_markets_from_exchange(loaded[name])
        # Which of KuCoin's accounts holds the money: ccxt asks this only while it loads markets.
        exchange.options["hf"] = True
        return exchange

    yield connect
    for exchange in opened:
        await exchange.close()
