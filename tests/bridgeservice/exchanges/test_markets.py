"""Markets: loaded once, kept, and renewed behind the callers' backs."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Never

import pytest

from bridgeservice.exchanges.ccxt_exchange import CcxtExchange
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.instruments import Description, Stored
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition, Unavailable
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import EXCHANGES, Simulator
from tests.support.exchanges import OWNER, QUICK, Shelf, connected, session


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


def by_alternative_name(template: Any) -> dict[str, str]:
    """An index that kraken's class keeps beside its markets."""
    return {name: each["id"] for name, each in template.options.get("marketsByAltname", {}).items()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # what is awaited happens in a task that nobody else sees
            await asyncio.sleep(0.005)


async def test_are_loaded_once_however_many_wait_and_whoever_gives_up(simulator: Simulator) -> None:
    async with connected(simulator, "kraken") as exchange:
        simulator.faults["kraken"].add(FaultKind.SLOW, seconds=0.05, times=1)
        first = asyncio.create_task(exchange.markets())
        others = [asyncio.create_task(exchange.markets()) for _ in range(50)]
        await asyncio.sleep(0)
        first.cancel()
        answers = await asyncio.gather(*others)

        assert first.cancelled()
        assert all(answer is answers[0] for answer in answers)
        assert await exchange.markets() is answers[0]
        assert simulator.seen.count("kraken", "AssetPairs") == 1


async def test_a_failed_load_is_tried_again_by_the_next_caller(simulator: Simulator) -> None:
    async with connected(simulator, "gate") as exchange:
        simulator.faults["gate"].add(FaultKind.FAIL)
        with pytest.raises(Unavailable):
            await exchange.markets()
        simulator.faults["gate"].clear()

        assert "BTC/USDT" in await exchange.markets()


async def test_what_an_order_on_gate_may_be_worth_is_told_though_ccxt_does_not_read_it(
    simulator: Simulator,
) -> None:
    async with connected(simulator, "gate") as exchange:
        market = await exchange.market("SHARP/USDT")
    assert (market.min_cost, market.max_cost) == ("1", "5000000")


@pytest.mark.parametrize("exchange_id", EXCHANGES)
async def test_a_restart_needs_no_load_and_changes_nothing(simulator: Simulator, exchange_id: str) -> None:
    shelf = Shelf()
    async with connected(simulator, exchange_id, instruments=shelf) as exchange:
        before = await exchange.markets()
        await until(lambda: bool(shelf.kept))
        balance = await session(exchange, simulator, balances={"BTC": "1"}).balances()
    # As it comes back from the database: through JSON.
    shelf.kept = {
        key: Stored(
            json.loads(json.dumps(kept.markets)), json.loads(json.dumps(kept.currencies)), kept.loaded_at
        )
        for key, kept in shelf.kept.items()
    }
    simulator.seen.clear()

    async with connected(simulator, exchange_id, instruments=shelf) as exchange:
        assert await exchange.markets() == before
        assert simulator.seen.count(exchange_id) == 0
        assert (await exchange.ticker("SHARP/USDT")).last == "1.25"
        assert await session(exchange, simulator, balances={"BTC": "1"}).balances() == balance
        fresh = (await exchange.loaded()).template

    async with connected(simulator, exchange_id) as exchange:
        loaded = (await exchange.loaded()).template
        assert fresh.markets == loaded.markets
        assert fresh.currencies == loaded.currencies
        assert by_alternative_name(fresh) == by_alternative_name(loaded)


async def test_old_ones_serve_while_new_ones_are_loaded_and_reach_connectors_in_use(
    simulator: Simulator,
) -> None:
    shelf = Shelf()
    async with connected(simulator, "binance", instruments=shelf) as exchange:
        await exchange.markets()
        await until(lambda: bool(shelf.kept))
    old = shelf.kept["binance", "LIVE"]
    shelf.kept["binance", "LIVE"] = Stored(
        {"BTC/USDT": old.markets["BTC/USDT"]}, old.currencies, datetime.now(UTC) - timedelta(hours=7)
    )

    async with connected(simulator, "binance", instruments=shelf) as exchange:
        own = session(exchange, simulator, balances={"BTC": "1"})
        await own.balances()
        assert list(await exchange.markets()) == ["BTC/USDT"]
        await until(lambda: len(shelf.kept["binance", "LIVE"].markets) > 1)
        await own.balances()

        assert "SHARP/USDT" in await exchange.markets()
        assert (await exchange.ticker("SHARP/USDT")).last == "1.25"
        assert own._connector.markets is (await exchange.loaded()).template.markets


async def test_old_ones_serve_on_when_new_ones_cannot_be_had(simulator: Simulator) -> None:
    ageing = replace(QUICK, markets_max_age=timedelta(0))
    async with connected(simulator, "kucoin", ageing) as exchange:
        before = await exchange.markets()
        simulator.faults["kucoin"].add(FaultKind.FAIL)
        simulator.seen.clear()
        await exchange.markets()
        await simulator.seen.until(1, "kucoin")

        assert await exchange.markets() is before


async def test_a_store_that_is_away_is_done_without(simulator: Simulator) -> None:
    class Away:
        async def load(self, exchange: str, environment: str) -> Never:
            raise Unavailable(f"the database is away, and {exchange} {environment} with it")

        async def save(
            self,
            exchange: str,
            environment: str,
            markets: Mapping[str, Description],
            currencies: Mapping[str, Description],
        ) -> Never:
            await self.load(exchange, environment)
            raise AssertionError(len(markets) + len(currencies))

    async with connected(simulator, "gate", instruments=Away()) as exchange:
        assert "BTC/USDT" in await exchange.markets()


async def test_an_exchange_that_names_its_markets_to_its_customers_only_is_said_to_be_of_no_use() -> None:
    options = replace(QUICK, urls={"alpaca": "http://127.0.0.1:1"})
    exchange = CcxtExchange("alpaca", Environment.LIVE, options)
    given = Credentials(api_key=secrets.token_hex(8), api_secret=secrets.token_hex(8))
    try:
        with pytest.raises(FailedPrecondition) as refused:
            await exchange.session(given, OWNER).balances()
    finally:
        await exchange.close()

    assert refused.value.reason == "NOT_SUPPORTED"
    assert "names its markets only to those who have credentials" in refused.value.message
