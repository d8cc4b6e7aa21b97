"""What a simulated exchange can be told to do wrong, and what ccxt makes of it."""

import asyncio
import contextlib
import time
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tests.simulator.faults import ORDERS, FaultKind
from tests.simulator.pointing import Connect
from tests.simulator.simulator import EXCHANGES, Simulator

pytestmark = pytest.mark.parametrize("name", EXCHANGES)
BALANCE = {
    "binance": "/account",
    "kraken": "/BalanceEx",
    "okx": "/account/balance",
    "kucoin": "/accounts",
    "gate": "/spot/accounts",
}
RATE_LIMITED = {
    "binance": "-1003",
    "kraken": "EAPI:Rate limit exceeded",
    "okx": "50011",
    "kucoin": "429000",
    "gate": "TOO_MANY_REQUESTS",
}


@pytest.fixture
async def exchange(name: str, simulator: Simulator, connect: Connect) -> Any:
    exchange = await connect(name, simulator.add_account(name, balances={"USDT": "10000"}))
    await exchange.fetch_balance()
    return exchange


async def test_slow_answers_late_and_rightly(name: str, exchange: Any, simulator: Simulator) -> None:
    simulator.faults[name].add(FaultKind.SLOW, path=BALANCE[name], times=1, seconds=0.1)
    began = time.monotonic()
    assert (await exchange.fetch_balance())["USDT"]["free"] == "10000"
    assert time.monotonic() - began >= 0.1


async def test_a_failure_is_an_exchange_that_is_not_available(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.FAIL, path=BALANCE[name], status=503)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.fetch_balance()


async def test_a_page_with_an_error_status_is_an_exchange_that_is_not_available(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.HTML, path=BALANCE[name], status=502)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.fetch_balance()


@pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.TRUNCATED, FaultKind.EMPTY])
async def test_ccxt_makes_an_empty_balance_of_nonsense_with_a_good_status(
    name: str, kind: FaultKind, exchange: Any, simulator: Simulator
) -> None:
    """It raises nothing, so whoever asks has to look at what was answered."""
    simulator.faults[name].add(kind, path=BALANCE[name])
    assert "USDT" not in await exchange.fetch_balance()


async def test_ten_megabytes_of_json_arrive(name: str, exchange: Any, simulator: Simulator) -> None:
    simulator.faults[name].add(FaultKind.HUGE, path=BALANCE[name])
    with contextlib.suppress(ccxt.ExchangeError, KeyError):  # at some exchanges it is an empty balance too
        await exchange.fetch_balance()
    assert len(exchange.last_http_response) > 10_000_000


async def test_a_rate_limit_is_told_as_the_exchange_tells_it(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.RATE_LIMITED, path=BALANCE[name], seconds=7, times=1)
    with pytest.raises((ccxt.RateLimitExceeded, ccxt.DDoSProtection), match=RATE_LIMITED[name]):
        await exchange.fetch_balance()
    headers = {header.lower(): value for header, value in exchange.last_response_headers.items()}
    if name == "binance":
        assert headers["retry-after"] == "7"
    if name == "kucoin":
        assert headers["gw-ratelimit-reset"] == "7000"
    if name == "gate":
        assert 5 <= int(headers["x-gate-ratelimit-reset-timestamp"]) - time.time() <= 7
    await exchange.fetch_balance()


async def test_a_ban_names_its_end_where_the_exchange_does(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.BANNED, path=BALANCE[name], seconds=120)
    with pytest.raises((ccxt.RateLimitExceeded, ccxt.DDoSProtection)) as caught:
        await exchange.fetch_balance()
    if name == "binance":
        assert "418" in str(caught.value)
        until = int(str(caught.value).partition("banned until ")[2].partition(".")[0])
        assert 110 < until / 1000 - time.time() <= 120


async def test_a_hang_lasts_until_it_is_cleared(name: str, exchange: Any, simulator: Simulator) -> None:
    simulator.faults[name].add(FaultKind.HANG, path=BALANCE[name])
    asked = asyncio.ensure_future(exchange.fetch_balance())
    await simulator.seen.until(2, name, BALANCE[name])
    assert not asked.done()
    simulator.faults[name].clear()
    try:
        # aiohttp asks again by itself after a GET on a connection that had worked.
        assert (await asked)["USDT"]["free"] == "10000"
    except ccxt.ExchangeNotAvailable:
        assert name == "kraken"


async def test_a_hang_is_a_time_out_to_the_caller(name: str, exchange: Any, simulator: Simulator) -> None:
    simulator.faults[name].add(FaultKind.HANG, path=BALANCE[name])
    exchange.timeout = 100
    with pytest.raises(ccxt.RequestTimeout):
        await exchange.fetch_balance()


async def test_a_dropped_order_was_never_placed(name: str, exchange: Any, simulator: Simulator) -> None:
    simulator.faults[name].add(FaultKind.DROP, path=ORDERS[name], times=1)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000")
    assert await exchange.fetch_open_orders("BTC/USDT") == []


async def test_an_order_can_be_placed_and_its_answer_lost(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.DROP_AFTER_ACTING, path=ORDERS[name], times=1)
    params = {"clientOrderId": "lost1"}
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000", params)
    [order] = await exchange.fetch_open_orders("BTC/USDT")
    assert order["clientOrderId"].removeprefix("t-") == "lost1"
    assert simulator.seen.count(name, ORDERS[name], "POST") == 1


async def test_an_order_can_be_placed_and_answered_with_a_failure(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.FAIL_AFTER_ACTING, path=ORDERS[name], times=1)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000")
    assert len(simulator.orders(name)) == 1


@pytest.mark.parametrize("kind", [FaultKind.HOLD, FaultKind.HOLD_AFTER_ACTING])
async def test_a_request_is_held_until_it_is_let_go(
    name: str, kind: FaultKind, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(kind, path=ORDERS[name], times=1)
    placing = asyncio.ensure_future(exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000"))
    await simulator.seen.until(1, name, ORDERS[name], "POST")
    assert len(simulator.orders(name)) == (0 if kind is FaultKind.HOLD else 1)
    assert not placing.done()
    simulator.faults[name].clear()
    assert (await placing)["id"] == simulator.orders(name)[0].id


async def test_what_was_held_is_done_though_nobody_waits_for_it_any_more(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.HOLD, path=ORDERS[name], times=1)
    exchange.timeout = 100
    with pytest.raises(ccxt.RequestTimeout):
        await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000")
    assert simulator.orders(name) == []
    simulator.faults[name].clear()
    await simulator.settled()
    assert len(simulator.orders(name)) == 1


async def test_a_fault_happens_where_and_as_often_as_it_was_told_to(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.faults[name].add(FaultKind.FAIL, path=BALANCE[name], times=1)
    await exchange.fetch_ticker("BTC/USDT")
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.fetch_balance()
    await exchange.fetch_balance()
