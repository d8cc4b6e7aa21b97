"""Balances, orders and fills at the simulated exchanges, as ccxt reads them."""

from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tests.simulator.pointing import Connect
from tests.simulator.simulator import EXCHANGES, Simulator

pytestmark = pytest.mark.parametrize("name", EXCHANGES)


@pytest.fixture
async def exchange(name: str, simulator: Simulator, connect: Connect) -> Any:
    """With money to trade."""
    return await connect(name, simulator.add_account(name, balances={"USDT": "10000", "BTC": "1"}))


def numbers(record: Any, *keys: str) -> list[object]:
    """What stands there, by value."""
    return [Decimal(record[key]) for key in keys]


async def resting(exchange: Any, client_id: str = "mine1") -> Any:
    """A limit order below the book."""
    params = {"clientOrderId": client_id}
    return await exchange.create_order("BTC/USDT", "limit", "buy", "0.02", "50000", params)


async def test_every_digit_of_a_balance_arrives(name: str, simulator: Simulator, connect: Connect) -> None:
    digits = "1234567890.12345678901234567890"
    balance = await (
        await connect(name, simulator.add_account(name, balances={"BTC": digits}))
    ).fetch_balance()
    assert digits in (balance["BTC"]["free"], balance["BTC"]["total"])
    # The other of the two is ccxt's own sum, which drops the last zero.
    assert Decimal(balance["BTC"]["free"]).compare(Decimal(balance["BTC"]["total"])) == 0


async def test_a_balance_has_only_what_the_account_holds(
    name: str, simulator: Simulator, connect: Connect
) -> None:
    exchange = await connect(name, simulator.add_account(name, balances={"BTC": "1"}))
    await exchange.load_markets(reload=True)
    assert set((await exchange.fetch_balance())["total"]) == {"BTC"}


async def test_a_limit_order_below_the_book_rests_and_reserves(name: str, exchange: Any) -> None:
    order = await exchange.fetch_order((await resting(exchange))["id"], "BTC/USDT")
    assert (order["status"], order["type"], order["side"]) == ("open", "limit", "buy")
    assert numbers(order, "amount", "price", "filled") == [Decimal("0.02"), 50000, 0]
    assert [o["id"] for o in await exchange.fetch_open_orders("BTC/USDT")] == [order["id"]]
    money = (await exchange.fetch_balance())["USDT"]
    assert numbers(money, "free", "used") == [9000, 1000]


async def test_a_canceled_order_gives_back_what_it_reserved(name: str, exchange: Any) -> None:
    order = await resting(exchange)
    await exchange.cancel_order(order["id"], "BTC/USDT")
    assert (await exchange.fetch_order(order["id"], "BTC/USDT"))["status"] == "canceled"
    assert await exchange.fetch_open_orders("BTC/USDT") == []
    money = (await exchange.fetch_balance())["USDT"]
    assert numbers(money, "free", "used") == [10000, 0]


async def test_what_is_canceled_cannot_be_canceled_again(name: str, exchange: Any) -> None:
    order = await resting(exchange)
    await exchange.cancel_order(order["id"], "BTC/USDT")
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.cancel_order(order["id"], "BTC/USDT")


async def test_all_orders_can_be_canceled_at_once(name: str, exchange: Any) -> None:
    orders = [await resting(exchange, f"mine{number}") for number in range(2)]
    if name == "okx":  # ccxt has no call for all of them there
        await exchange.cancel_orders([order["id"] for order in orders], "BTC/USDT")
    else:
        await exchange.cancel_all_orders("BTC/USDT")
    assert await exchange.fetch_open_orders("BTC/USDT") == []


async def test_a_market_order_is_filled_at_the_book_at_once(name: str, exchange: Any) -> None:
    created = await exchange.create_order("BTC/USDT", "market", "sell", "0.1")
    order = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert order["status"] == "closed"
    assert numbers(order, "average", "filled") == [59988, Decimal("0.1")]
    balance = await exchange.fetch_balance()
    assert Decimal(balance["BTC"]["total"]) == Decimal("0.9")
    assert Decimal(balance["USDT"]["total"]) == 10000 + Decimal("5998.8") * Decimal("0.999")


async def test_a_market_order_may_name_what_to_spend(name: str, exchange: Any) -> None:
    created = await exchange.create_market_buy_order_with_cost("BTC/USDT", 600.12)
    order = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert (order["status"], Decimal(order["cost"])) == ("closed", Decimal("600.12"))


async def test_a_limit_order_that_crosses_is_filled_at_the_better_price(name: str, exchange: Any) -> None:
    created = await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "61000")
    order = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert order["status"] == "closed"
    assert numbers(order, "average") == [60012]
    assert Decimal((await exchange.fetch_balance())["USDT"]["used"]) == 0


async def test_an_order_that_may_not_rest_ends_unfilled(name: str, exchange: Any) -> None:
    params = {"timeInForce": "IOC"}
    created = await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000", params)
    order = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert order["status"] in ("canceled", "expired")
    assert Decimal((await exchange.fetch_balance())["USDT"]["free"]) == 10000


async def test_a_book_may_hold_less_than_an_order_wants(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    simulator.set_liquidity(name, "BTC/USDT", "0.03")
    left = {}
    for time_in_force in ("GTC", "IOC", "FOK"):
        params = {"timeInForce": time_in_force}
        created = await exchange.create_order("BTC/USDT", "limit", "buy", "0.05", "61000", params)
        order = await exchange.fetch_order(created["id"], "BTC/USDT")
        left[time_in_force] = (order["status"] == "open", Decimal(order["filled"]))
    assert left == {"GTC": (True, Decimal("0.03")), "IOC": (False, Decimal("0.03")), "FOK": (False, 0)}
    created = await exchange.create_order("BTC/USDT", "market", "sell", "0.05")
    sold = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert (sold["status"] in ("canceled", "expired"), Decimal(sold["filled"])) == (True, Decimal("0.03"))

    simulator.set_liquidity(name, "BTC/USDT", None)
    await exchange.create_order("BTC/USDT", "market", "sell", "0.05")
    money = await exchange.fetch_balance()
    assert Decimal(money["BTC"]["used"]) == 0
    assert Decimal(money["USDT"]["used"]) == Decimal("0.02") * 61000


async def test_orders_can_be_made_elsewhere_and_the_book_can_be_read(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    keys = next(iter(simulator.venues[name].accounts.values())).keys
    elsewhere = simulator.place(keys, "BTC/USDT", "sell", "0.1", "70000", client_id="web-1")
    created = await resting(exchange)
    [listed, _] = sorted(
        await exchange.fetch_open_orders("BTC/USDT"), key=lambda order: order["side"], reverse=True
    )
    assert (listed["id"], listed["clientOrderId"]) == (elsewhere.id, "web-1")
    assert [order.id for order in simulator.orders(name)] == [elsewhere.id, created["id"]]


async def test_a_post_only_order_never_crosses(name: str, exchange: Any) -> None:
    params = {"postOnly": True}
    with pytest.raises(ccxt.ExchangeError):
        await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "61000", params)
    created = await exchange.create_order("BTC/USDT", "limit", "buy", "0.01", "50000", params)
    order = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert (order["status"], order["postOnly"]) == ("open", True)


async def test_a_test_can_fill_what_rests_in_parts(name: str, exchange: Any, simulator: Simulator) -> None:
    created = await resting(exchange)
    simulator.fill(name, created["id"], "0.005")
    part = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert (part["status"], Decimal(part["filled"])) == ("open", Decimal("0.005"))
    simulator.fill(name, created["id"])
    whole = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert whole["status"] == "closed"
    assert numbers(whole, "cost") == [1000]
    assert whole["id"] in [order["id"] for order in await exchange.fetch_closed_orders("BTC/USDT")]


async def test_a_price_that_comes_down_fills_what_rests(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    created = await resting(exchange)
    simulator.set_price(name, "BTC/USDT", "49000")
    order = await exchange.fetch_order(created["id"], "BTC/USDT")
    assert order["status"] == "closed"
    assert numbers(order, "average") == [50000]


async def test_my_trades_tell_each_fill_and_its_fee(name: str, exchange: Any, simulator: Simulator) -> None:
    created = await resting(exchange)
    simulator.fill(name, created["id"])
    await exchange.create_order("BTC/USDT", "market", "sell", "0.1")
    bought, sold = await exchange.fetch_my_trades("BTC/USDT")
    assert (bought["order"], bought["side"], bought["takerOrMaker"]) == (created["id"], "buy", "maker")
    assert numbers(bought, "price", "amount") == [50000, Decimal("0.02")]
    fee = ("USDT", Decimal(1)) if name == "kraken" else ("BTC", Decimal("0.00002"))
    assert (bought["fee"]["currency"], Decimal(bought["fee"]["cost"])) == fee
    assert (sold["side"], sold["takerOrMaker"], sold["fee"]["currency"]) == ("sell", "taker", "USDT")


async def test_more_than_there_is_cannot_be_spent(name: str, exchange: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order("BTC/USDT", "limit", "buy", "1", "50000")
    assert Decimal((await exchange.fetch_balance())["USDT"]["free"]) == 10000


async def test_an_order_is_found_by_its_client_order_id(name: str, exchange: Any) -> None:
    created = await resting(exchange, "findme1")
    by_client_id = {"clientOrderId": "findme1"}
    if name == "kraken":  # there it narrows the lists
        [order] = await exchange.fetch_open_orders("BTC/USDT", params=by_client_id)
        assert await exchange.fetch_open_orders("BTC/USDT", params={"clientOrderId": "other"}) == []
    else:
        order = await exchange.fetch_order("", "BTC/USDT", by_client_id)
    assert order["id"] == created["id"]
    assert order["clientOrderId"].removeprefix("t-") == "findme1"


async def test_a_client_order_id_is_not_taken_twice_where_the_exchange_refuses_it(
    name: str, exchange: Any, simulator: Simulator
) -> None:
    await resting(exchange, "once1")
    if name in ("binance", "kraken", "okx"):
        with pytest.raises(ccxt.ExchangeError, match=r"Duplicate|51016"):
            await resting(exchange, "once1")
        [order] = await exchange.fetch_open_orders("BTC/USDT")
        await exchange.cancel_order(order["id"], "BTC/USDT")
    if name == "okx":  # never again, even when the order has ended
        with pytest.raises(ccxt.ExchangeError, match="51016"):
            await resting(exchange, "once1")
    else:
        await resting(exchange, "once1")
        assert len(simulator.orders(name)) == 2


async def test_an_order_that_never_was_is_not_found(name: str, exchange: Any) -> None:
    error = ccxt.InvalidOrder if name == "kraken" else ccxt.OrderNotFound
    with pytest.raises(error):
        await exchange.fetch_order("123", "BTC/USDT")


async def test_nobody_sees_another_account(
    name: str, exchange: Any, simulator: Simulator, connect: Connect
) -> None:
    order = await resting(exchange)
    other = await connect(name, simulator.add_account(name))
    assert await other.fetch_open_orders("BTC/USDT") == []
    with pytest.raises(ccxt.InvalidOrder):
        await other.fetch_order(order["id"], "BTC/USDT")
