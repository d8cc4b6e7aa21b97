"""What another process may turn, and the simulator as a program of its own."""

import asyncio
import json
import os
import signal
import sys
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import pytest

from tests.simulator.accounts import AccountKeys
from tests.simulator.pointing import Connect, connected
from tests.simulator.simulator import EXCHANGES, Simulator


async def told(port: int, action: str, **wanted: Any) -> Any:
    url = f"http://127.0.0.1:{port}/_control/{action}"
    async with aiohttp.ClientSession() as session, session.post(url, json=wanted) as response:
        response.raise_for_status()
        return await response.json()


def signed_in(name: str, base: str, told: dict[str, str]) -> Any:
    """A ccxt exchange with the credentials that were told."""
    return connected(
        name, base, AccountKeys(name, told["api_key"], told["secret"], told.get("passphrase", ""))
    )


async def test_another_process_commands_accounts_faults_prices_and_clocks(simulator: Simulator) -> None:
    port = simulator.port
    keys = await told(port, "accounts", exchange="okx", balances={"USDT": "1000"})
    async with signed_in("okx", simulator.url("okx"), keys) as exchange:
        order = await exchange.create_order("SHARP/USDT", "limit", "buy", "10", "1")
        await told(port, "fill", exchange="okx", order_id=order["id"])
        await told(port, "price", exchange="okx", symbol="SHARP/USDT", price="3")
        assert (await exchange.fetch_order(order["id"], "SHARP/USDT"))["status"] == "closed"
        assert (await exchange.fetch_ticker("SHARP/USDT"))["last"] == "3"

        await told(port, "faults", exchange="okx", kind="fail", path="/balance")
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await exchange.fetch_balance()
        await told(port, "clear", exchange="okx")
        await told(port, "clock", exchange="okx", seconds=90)
        with pytest.raises(ccxt.InvalidNonce):
            await exchange.fetch_balance()
        await told(port, "clock", exchange="okx", seconds=0)
        await exchange.fetch_balance()
        assert (await told(port, "seen", exchange="okx", path="/balance"))["count"] == 3

        await told(port, "revoke", exchange="okx", api_key=keys["api_key"])
        with pytest.raises(ccxt.ExchangeError, match="50119"):
            await exchange.fetch_balance()


async def test_another_process_reads_the_book_and_holds_what_arrives(simulator: Simulator) -> None:
    port = simulator.port
    keys = await told(port, "accounts", exchange="okx", balances={"USDT": "1000", "SHARP": "50"})
    elsewhere = await told(
        port, "place", exchange="okx", api_key=keys["api_key"], symbol="SHARP/USDT", side="sell", amount="5",
        price="9", client_id="web1",
    )  # fmt: skip
    await told(port, "liquidity", exchange="okx", symbol="SHARP/USDT", amount="4")
    async with signed_in("okx", simulator.url("okx"), keys) as exchange:
        await exchange.load_markets()
        await told(port, "faults", exchange="okx", kind="hold", path="/batch-orders")
        placing = asyncio.ensure_future(exchange.create_order("SHARP/USDT", "limit", "sell", "10", "1"))
        await told(port, "until", exchange="okx", count=1, path="/batch-orders")
        assert (await told(port, "orders", exchange="okx"))["orders"] == [elsewhere]
        await told(port, "clear", exchange="okx")
        placed = await placing

    assert elsewhere == {
        "order_id": elsewhere["order_id"], "client_id": "web1", "symbol": "SHARP/USDT", "side": "sell",
        "type": "limit", "amount": "5", "filled": "0", "price": "9", "status": "open", "trades": [],
    }  # fmt: skip
    first, second = (await told(port, "orders", exchange="okx"))["orders"]
    assert (first, second["order_id"], second["filled"]) == (elsewhere, placed["id"], "4")
    assert [(trade["amount"], trade["price"]) for trade in second["trades"]] == [("4", "1.2498")]


@pytest.mark.parametrize(
    ("action", "wanted", "status"),
    [
        ("nothing", {"exchange": "okx"}, 404),
        ("faults", {"exchange": "nowhere", "kind": "fail"}, 400),
        ("faults", {"exchange": "okx", "kind": "mischief"}, 400),
        ("faults", {"exchange": "okx", "kind": "fail", "often": 3}, 400),
        ("revoke", {"exchange": "okx", "api_key": "none"}, 400),
        ("fill", {"exchange": "okx", "order_id": "none"}, 400),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(
    action: str, wanted: dict[str, Any], status: int, simulator: Simulator
) -> None:
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await told(simulator.port, action, **wanted)
    assert caught.value.status == status


async def test_what_was_seen_can_be_counted_waited_for_and_forgotten(
    simulator: Simulator, connect: Connect
) -> None:
    exchange = await connect("gate")
    simulator.seen.clear()
    waiting = asyncio.ensure_future(simulator.seen.until(2, "gate", "/spot/tickers", "GET"))
    await exchange.fetch_ticker("BTC/USDT")
    assert not waiting.done()
    await exchange.fetch_ticker("BTC/USDT")
    await asyncio.wait_for(waiting, 30)
    first, second = simulator.seen.requests("gate", "/spot/tickers")
    assert first.monotonic <= second.monotonic
    assert simulator.seen.count("gate", "/spot/tickers", "POST") == simulator.seen.count("okx") == 0


async def test_the_secrets_of_an_account_are_not_in_its_repr(simulator: Simulator) -> None:
    keys = simulator.add_account("okx")
    assert keys.secret not in repr(keys)
    assert keys.passphrase not in repr(keys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_program_serves_demo_accounts_until_it_is_told_to_stop(number: signal.Signals) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.simulator", "--port", "0", "--markets", "8",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    try:
        assert program.stdout is not None
        lines = [json.loads(await program.stdout.readline()) for _ in range(len(EXCHANGES) + 1)]
        demo = {line["exchange"]: line for line in lines[:-1]}
        assert lines[-1]["urls"] == {name: demo[name]["url"] for name in EXCHANGES}
        for name in EXCHANGES:
            async with signed_in(name, demo[name]["url"], demo[name]) as exchange:
                assert "COIN0002/USDT" in await exchange.load_markets()
                assert (await exchange.fetch_balance())["SHARP"]["free"] == "1000"
    finally:
        program.send_signal(number)
    assert await asyncio.wait_for(program.wait(), 30) == 0
