"""What the simulated exchanges check of a signed request, and what ccxt makes of their answers."""

import dataclasses
import secrets

import ccxt.async_support as ccxt
import pytest

from tests.simulator.accounts import AccountKeys, Permission, new_keys
from tests.simulator.pointing import Connect
from tests.simulator.simulator import EXCHANGES, Simulator

WITH_PASSPHRASE = ("okx", "kucoin")
WITH_CLOCK = ("binance", "okx", "kucoin", "gate")
Refusals = dict[str, tuple[type[Exception], str]]
"""What ccxt raises and what the exchange said. ExchangeError is where ccxt does not know the exchange's words."""

WRONG_SECRET: Refusals = {
    "binance": (ccxt.AuthenticationError, "-1022"),
    "kraken": (ccxt.ExchangeError, "EAPI:Invalid signature"),
    "okx": (ccxt.AuthenticationError, "50113"),
    "kucoin": (ccxt.AuthenticationError, "400005"),
    "gate": (ccxt.AuthenticationError, "INVALID_SIGNATURE"),
}
UNKNOWN_KEY: Refusals = {
    "binance": (ccxt.AuthenticationError, "-2015"),
    "kraken": (ccxt.AuthenticationError, "EAPI:Invalid key"),
    "okx": (ccxt.ExchangeError, "50119"),
    "kucoin": (ccxt.AuthenticationError, "400003"),
    "gate": (ccxt.AuthenticationError, "INVALID_KEY"),
}
CLOCK_OFF: Refusals = {
    "binance": (ccxt.InvalidNonce, "-1021"),
    "okx": (ccxt.InvalidNonce, "50102"),
    "kucoin": (ccxt.InvalidNonce, "400002"),
    "gate": (ccxt.AuthenticationError, "REQUEST_EXPIRED"),
}
FORBIDDEN: Refusals = {
    "binance": (ccxt.AuthenticationError, "-2015"),
    "kraken": (ccxt.PermissionDenied, "EGeneral:Permission denied"),
    "okx": (ccxt.ExchangeError, "50120"),
    "kucoin": (ccxt.AuthenticationError, "400007"),
    "gate": (ccxt.PermissionDenied, "FORBIDDEN"),
}


def other_secret(keys: AccountKeys) -> AccountKeys:
    return dataclasses.replace(keys, secret=new_keys(keys.exchange).secret)


@pytest.mark.parametrize("name", EXCHANGES)
async def test_the_right_credentials_are_accepted(name: str, simulator: Simulator, connect: Connect) -> None:
    exchange = await connect(name, simulator.add_account(name, balances={"USDT": "7"}))
    assert (await exchange.fetch_balance())["USDT"]["free"] == "7"


@pytest.mark.parametrize("name", EXCHANGES)
async def test_markets_load_with_credentials_too(name: str, simulator: Simulator, connect: Connect) -> None:
    exchange = await connect(name, simulator.add_account(name))
    assert "BTC/USDT" in await exchange.load_markets(reload=True)
    assert "SHARP" in exchange.currencies


@pytest.mark.parametrize("name", EXCHANGES)
async def test_a_wrong_secret_is_refused(name: str, simulator: Simulator, connect: Connect) -> None:
    exchange = await connect(name, other_secret(simulator.add_account(name)))
    error, said = WRONG_SECRET[name]
    with pytest.raises(ccxt.ExchangeError, match=said) as caught:
        await exchange.fetch_balance()
    assert caught.type is error


@pytest.mark.parametrize("name", EXCHANGES)
async def test_a_key_that_never_was_is_refused(name: str, connect: Connect) -> None:
    exchange = await connect(name, new_keys(name))
    error, said = UNKNOWN_KEY[name]
    with pytest.raises(ccxt.ExchangeError, match=said) as caught:
        await exchange.fetch_balance()
    assert caught.type is error


@pytest.mark.parametrize("name", EXCHANGES)
async def test_a_revoked_key_is_as_unknown_as_one_that_never_was(
    name: str, simulator: Simulator, connect: Connect
) -> None:
    keys = simulator.add_account(name)
    simulator.revoke(keys)
    error, said = UNKNOWN_KEY[name]
    with pytest.raises(ccxt.ExchangeError, match=said) as caught:
        await (await connect(name, keys)).fetch_balance()
    assert caught.type is error


async def test_ccxt_takes_a_key_that_binance_revoked_in_use_for_a_ban(
    simulator: Simulator, connect: Connect
) -> None:
    """It does so after one success, whatever the reason: callers have to know."""
    keys = simulator.add_account("binance")
    exchange = await connect("binance", keys)
    await exchange.fetch_balance()
    simulator.revoke(keys)
    with pytest.raises(ccxt.DDoSProtection, match="-2015"):
        await exchange.fetch_balance()


@pytest.mark.parametrize("name", WITH_PASSPHRASE)
async def test_a_wrong_passphrase_is_refused(name: str, simulator: Simulator, connect: Connect) -> None:
    keys = dataclasses.replace(simulator.add_account(name), passphrase=secrets.token_hex(8))
    with pytest.raises(ccxt.AuthenticationError, match=r"50105|400004"):
        await (await connect(name, keys)).fetch_balance()


@pytest.mark.parametrize("seconds", [-120, 120])
@pytest.mark.parametrize("name", WITH_CLOCK)
async def test_a_clock_that_is_off_is_refused(
    name: str, seconds: float, simulator: Simulator, connect: Connect
) -> None:
    exchange = await connect(name, simulator.add_account(name))
    simulator.venues[name].clock_skew = seconds
    error, said = CLOCK_OFF[name]
    with pytest.raises(ccxt.ExchangeError if name == "gate" else ccxt.InvalidNonce, match=said) as caught:
        await exchange.fetch_balance()
    assert caught.type is error


@pytest.mark.parametrize("name", WITH_CLOCK)
async def test_a_clock_that_is_set_again_is_accepted(
    name: str, simulator: Simulator, connect: Connect
) -> None:
    exchange = await connect(name, simulator.add_account(name))
    simulator.venues[name].clock_skew = 120
    await exchange.load_time_difference()
    await exchange.fetch_balance()


async def test_kraken_wants_each_nonce_to_be_greater(simulator: Simulator, connect: Connect) -> None:
    keys = simulator.add_account("kraken")
    ahead, behind = await connect("kraken", keys), await connect("kraken", keys)
    ahead.options["timeDifference"] = -60_000
    await ahead.fetch_balance()
    with pytest.raises(ccxt.InvalidNonce, match="EAPI:Invalid nonce"):
        await behind.fetch_balance()


async def test_kraken_signs_with_a_decoded_secret(simulator: Simulator, connect: Connect) -> None:
    """ccxt decodes it before anything is sent, so one that is no base64 fails where it is."""
    keys = simulator.add_account("kraken")
    exchange = await connect("kraken", dataclasses.replace(keys, secret=keys.secret[:-1]))
    with pytest.raises(ValueError, match="padding"):
        await exchange.fetch_balance()
    assert simulator.seen.count("kraken", "/private/") == 0


@pytest.mark.parametrize("name", EXCHANGES)
async def test_a_key_without_permission_may_read_but_not_trade(
    name: str, simulator: Simulator, connect: Connect
) -> None:
    keys = simulator.add_account(name, balances={"USDT": "1000"}, permissions=[Permission.READ])
    error, said = FORBIDDEN[name]
    with pytest.raises(ccxt.ExchangeError, match=said) as caught:
        await (await connect(name, keys)).create_order("BTC/USDT", "limit", "buy", "0.001", "50000")
    assert caught.type is error
    assert (await (await connect(name, keys)).fetch_balance())["USDT"]["free"] == "1000"


@pytest.mark.parametrize("granted", [(), (Permission.TRADE,), (Permission.TRADE, Permission.WITHDRAW)])
async def test_exchanges_tell_what_a_key_may_do(
    granted: tuple[Permission, ...], simulator: Simulator, connect: Connect
) -> None:
    async def keyed(name: str) -> object:
        return await connect(name, simulator.add_account(name, permissions=[Permission.READ, *granted]))

    binance = await (await keyed("binance")).sapiGetAccountApiRestrictions()  # type: ignore[attr-defined]
    kraken = await (await keyed("kraken")).privatePostGetApiKeyInfo()  # type: ignore[attr-defined]
    okx = await (await keyed("okx")).privateGetAccountConfig()  # type: ignore[attr-defined]
    kucoin = await (await keyed("kucoin")).privateGetUserApiKey()  # type: ignore[attr-defined]
    told = {
        (binance["enableSpotAndMarginTrading"], binance["enableWithdrawals"]),
        tuple(name in kraken["result"]["permissions"] for name in ("modify-trades", "withdraw-funds")),
        tuple(name in okx["data"][0]["perm"].split(",") for name in ("trade", "withdraw")),
        tuple(name in kucoin["data"]["permission"].split(",") for name in ("Spot", "Transfer")),
    }
    assert told == {(Permission.TRADE in granted, Permission.WITHDRAW in granted)}
