"""What the simulated exchanges do not take, in their own words, and what ccxt makes of these."""

from typing import Any

import ccxt.async_support as ccxt
import pytest

from tests.simulator.faults import FaultKind
from tests.simulator.pointing import Connect
from tests.simulator.simulator import EXCHANGES, Simulator

# Amount and price of an order that breaks one limit, and what is said then; None where there is no such limit.
BROKEN: dict[str, dict[str, str | None]] = {
    "binance": {
        "amount step": "LOT_SIZE",
        "price step": "PRICE_FILTER",
        "least amount": "LOT_SIZE",
        "most amount": "LOT_SIZE",
        "most price": "PRICE_FILTER",
        "least cost": "NOTIONAL",
    },
    "kraken": {
        "amount step": "EGeneral:Invalid arguments:volume",
        "price step": "EOrder:Invalid price",
        "least amount": "volume minimum not met",
        "most amount": None,
        "most price": None,
        "least cost": "EOrder:Cost minimum not met",
    },
    "okx": {
        "amount step": "51121",
        "price step": "51000",
        "least amount": "51020",
        "most amount": "51203",
        "most price": None,
        "least cost": None,
    },
    "kucoin": {
        "amount step": "Order size increment invalid",
        "price step": "Price increment invalid",
        "least amount": "below the minimum requirement",
        "most amount": "above the maximum requirement",
        "most price": None,
        "least cost": "600101",
    },
    "gate": {
        "amount step": "INVALID_PRECISION",
        "price step": "INVALID_PRECISION",
        "least amount": "too small",
        "most amount": "too large",
        "most price": None,
        "least cost": "The minimum is 1 USDT",
    },
}
ORDERS = {
    "amount step": ("0.010000001", "50000"),
    "price step": ("0.01", "50000.001"),
    "least amount": ("0.000000001", "50000"),
    "most amount": ("99999999999", "1"),
    "most price": ("0.01", "1000000.01"),
    "least cost": ("0.000001", "50000"),
}


def unrounded(exchange: Any) -> Any:
    """The exchange, with ccxt sending numbers as they are."""
    exchange.amount_to_precision = exchange.price_to_precision = lambda _, number: number
    return exchange


@pytest.mark.parametrize("limit", ORDERS)
@pytest.mark.parametrize("name", EXCHANGES)
async def test_an_order_beyond_a_limit_is_refused_in_the_exchanges_words(
    name: str, limit: str, simulator: Simulator, connect: Connect
) -> None:
    exchange = unrounded(await connect(name, simulator.add_account(name, balances={"USDT": "1" + "0" * 20})))
    said, (amount, price) = BROKEN[name][limit], ORDERS[limit]
    if said is None:
        await exchange.create_order("BTC/USDT", "limit", "buy", amount, price)
        return
    with pytest.raises(ccxt.ExchangeError, match=said):
        await exchange.create_order("BTC/USDT", "limit", "buy", amount, price)
    assert simulator.orders(name) == []


@pytest.mark.parametrize("name", ["binance", "gate", "kucoin"])
async def test_an_order_may_be_worth_too_much(name: str, simulator: Simulator, connect: Connect) -> None:
    exchange = unrounded(await connect(name, simulator.add_account(name, balances={"USDT": "1" + "0" * 20})))
    with pytest.raises(ccxt.ExchangeError, match=r"NOTIONAL|too large|above the maximum"):
        await exchange.create_order("BTC/USDT", "limit", "buy", "3000", "50000")


@pytest.mark.parametrize("name", EXCHANGES)
async def test_an_order_can_be_refused_on_command(name: str, simulator: Simulator, connect: Connect) -> None:
    exchange = await connect(name, simulator.add_account(name, balances={"USDT": "10000"}))
    simulator.faults[name].add(FaultKind.REFUSE, path="rder")
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000")
    assert simulator.orders(name) == []
