"""Which exchanges there are, and that each is made once."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.plugins import Provider
from bridgeservice.exchanges.registry import Registry
from servicekit.catalogue import Catalogue
from servicekit.errors import FailedPrecondition, Unavailable
from tests.support.example_exchange.corner_exchange import PLUGIN, CornerExchange
from tests.support.exchanges import QUICK


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    paper = Provider(open=lambda _: CornerExchange(), capabilities=("fetchTicker", "createOrder"))
    registry = Registry(Catalogue.load(), QUICK, built_in={"paper": paper}, plugged_in=[PLUGIN])
    yield registry
    await registry.close()


async def test_each_exchange_is_made_once_for_each_environment(registry: Registry) -> None:
    made = await asyncio.gather(*(registry.get("binance", Environment.LIVE) for _ in range(20)))
    sandbox = await registry.get("binance", Environment.SANDBOX)

    assert all(exchange is made[0] for exchange in made)
    assert sandbox is not made[0]
    assert await registry.get("gateio", Environment.LIVE) is await registry.get("gate", Environment.LIVE)


async def test_built_in_and_plugged_in_exchanges_are_made_by_their_providers(registry: Registry) -> None:
    paper = await registry.get("paper", Environment.LIVE)

    assert isinstance(paper, CornerExchange)
    assert paper is await registry.get("paper", Environment.LIVE)
    assert isinstance(await registry.get("corner", Environment.LIVE), CornerExchange)
    assert registry.catalogue.find("corner") is PLUGIN.exchange


async def test_capabilities_are_what_ccxt_says_and_what_a_provider_says(registry: Registry) -> None:
    assert await registry.capabilities("paper") == ["createOrder", "fetchTicker"]
    capabilities = await registry.capabilities("kraken")
    assert {"fetchBalance", "createOrder"} <= set(capabilities)
    assert list(capabilities) == sorted(capabilities)


@pytest.mark.parametrize(("name", "nearest"), [("binanse", "binance"), ("bitmart", None), ("", None)])
async def test_what_nobody_serves_is_refused_with_the_nearest_names(
    registry: Registry, name: str, nearest: str | None
) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await registry.get(name, Environment.LIVE)
    with pytest.raises(FailedPrecondition):
        await registry.capabilities(name)

    assert refused.value.reason == "EXCHANGE_UNSUPPORTED"
    if nearest:
        assert nearest in refused.value.message
        assert nearest in refused.value.metadata["nearest"].split(",")
    if name == "bitmart":
        assert "BitMart is no longer served" in refused.value.message


@pytest.mark.parametrize("exchange_id", ["kraken", "paper", "corner"])
async def test_a_sandbox_that_does_not_exist_is_refused(registry: Registry, exchange_id: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await registry.get(exchange_id, Environment.SANDBOX)

    assert refused.value.reason == "SANDBOX_UNSUPPORTED"


async def test_nothing_is_made_after_closing(registry: Registry) -> None:
    exchange = await registry.get("okx", Environment.LIVE)
    await registry.close()

    with pytest.raises(Unavailable):
        await registry.get("okx", Environment.LIVE)
    with pytest.raises(Unavailable):
        await exchange.markets()


IMPORT_IN_THE_BACKGROUND = """
import asyncio, sys
from time import monotonic
from bridgeservice.exchanges.options import Options
from bridgeservice.exchanges.registry import Registry
from servicekit.catalogue import Catalogue

async def main():
    registry = Registry(Catalogue.load(), Options(), built_in={})
    assert "ccxt" not in sys.modules
    importing = registry.start()
    assert registry.start() is importing
    longest = 0.0
    while not importing.done():
        began = monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, monotonic() - began)
    print("longest", longest, "ccxt" in sys.modules)
    await registry.close()

asyncio.run(main())
"""


def test_ccxt_is_imported_once_and_the_event_loop_goes_on_meanwhile() -> None:
    began = monotonic()
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_IN_THE_BACKGROUND], capture_output=True, text=True, check=True
    )
    whole = monotonic() - began

    _, longest, imported = done.stdout.split()
    assert imported == "True"
    assert float(longest) < whole / 2
