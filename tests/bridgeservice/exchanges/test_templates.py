"""What connectors of one exchange share, and what each has for itself."""

import secrets
import types
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import ccxt
import pytest

from bridgeservice.enums import OrderSide
from bridgeservice.exchanges import templates
from bridgeservice.exchanges.ccxt_session import CcxtSession
from bridgeservice.exchanges.exchange import Environment
from servicekit.catalogue import Catalogue
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition
from tests.simulator.simulator import EXCHANGES, Simulator
from tests.support.exchanges import OWNER, QUICK, connected, credentials
from tests.support.orders import accepted, limit, market, named

every_exchange = pytest.mark.parametrize("exchange_id", EXCHANGES)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


def writable(value: object, seen: dict[int, object]) -> Iterator[object]:
    """Everything that can be written into and is reached from here: containers, and objects with attributes."""
    if id(value) in seen or isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return
    seen[id(value)] = value
    if isinstance(value, dict):
        yield value
        for item in (*value.keys(), *value.values()):
            yield from writable(item, seen)
    elif isinstance(value, list | set | deque | frozenset | tuple):
        if not isinstance(value, frozenset | tuple):
            yield value
        for item in value:
            yield from writable(item, seen)
    elif hasattr(value, "__dict__"):
        yield value
        yield from writable(vars(value), seen)


def own_graph(connector: Any) -> dict[int, object]:
    """What a connector reaches otherwise than through what is named as shared."""
    attributes = vars(connector)
    shared = [
        *(attributes[name] for name in templates.SHARED & attributes.keys()),
        *(connector.options[name] for name in templates.SHARED_OPTIONS & connector.options.keys()),
    ]
    return {id(each): each for each in writable(attributes, {id(each): each for each in shared})}


async def trade(own: CcxtSession) -> None:
    """Do with orders what can be done."""
    accepted(await own.place(market(OrderSide.SELL, "0.1")))
    order = accepted(await own.place(limit(OrderSide.SELL, "0.1", "70000")))
    await own.open_orders()
    await own.cancel(named(order))
    await own.order(named(order))
    await own.trades("BTC/USDT", datetime.now(UTC) - timedelta(minutes=1), 10)
    await own.positions()


@every_exchange
async def test_two_used_connectors_have_nothing_in_common_but_what_is_named(
    simulator: Simulator, exchange_id: str
) -> None:
    async with connected(simulator, exchange_id) as exchange:
        connectors = []
        for _ in range(2):
            keys = simulator.add_account(exchange_id, balances={"BTC": "1", "USDT": "2"})
            own = exchange.session(credentials(keys), OWNER)
            await own.balances()
            await own.permissions()
            await trade(own)
            connectors.append(own._connector)
        one, other = (own_graph(connector) for connector in connectors)

        assert [type(one[key]) for key in one.keys() & other.keys()] == []
        assert connectors[0].markets is connectors[1].markets
        planted: dict[str, str] = {}
        connectors[0].options["planted"] = connectors[1].options["planted"] = {"deep": [planted]}
        assert id(planted) in own_graph(connectors[0]).keys() & own_graph(connectors[1]).keys()
        assert connectors[0].apiKey != connectors[1].apiKey


@every_exchange
async def test_a_connector_signs_with_its_own_credentials(simulator: Simulator, exchange_id: str) -> None:
    async with connected(simulator, exchange_id) as exchange:
        loaded = await exchange.loaded()
        connector = templates.connect(loaded.template, credentials(simulator.add_account(exchange_id)))

        bound = [name for name, value in vars(connector).items() if isinstance(value, types.MethodType)]
        assert bound == []
        assert connector.fetch_balance.__self__ is connector
        assert not loaded.template.apiKey
        assert not loaded.template.secret


@every_exchange
async def test_what_connectors_do_leaves_the_template_as_it_was(
    simulator: Simulator, exchange_id: str
) -> None:
    async with connected(simulator, exchange_id) as exchange:
        template = (await exchange.loaded()).template
        before = repr(vars(template))
        keys = simulator.add_account(exchange_id, balances={"BTC": "1"})
        own = exchange.session(credentials(keys), OWNER)
        await own.balances()
        await own.permissions()
        await trade(own)
        await exchange.ticker("BTC/USDT")

        assert repr(vars(template)) == before


async def test_numbers_stay_text_and_orders_are_never_sent_twice() -> None:
    template = templates.make("binance", Environment.LIVE, QUICK)

    assert template.number is str
    assert template.on_json_response('{"a": 0.12345678901234567890}') == {"a": "0.12345678901234567890"}
    assert template.options["maxRetriesOnFailure"] == 0


@pytest.mark.parametrize("exchange_id", ccxt.exchanges)
async def test_ccxt_refuses_the_amount_of_a_market_order_where_it_would_take_it_for_a_cost(
    exchange_id: str,
) -> None:
    options = templates.make(exchange_id, Environment.LIVE, QUICK).options
    of_orders = options.get("createOrder")
    assert options["createMarketBuyOrderRequiresPrice"] is True
    if isinstance(of_orders, dict):
        assert of_orders["createMarketBuyOrderRequiresPrice"] is True


async def test_what_exchanges_derive_from_others_is_read_like_theirs() -> None:
    exact = templates.make("okxus", Environment.LIVE, QUICK).exceptions["exact"]
    assert exact["50119"].__name__ == "AuthenticationError"
    assert exact["51016"].__name__ == "DuplicateOrderId"


async def test_where_nonces_are_counted_each_connectors_requests_are_kept_in_order() -> None:
    async def order_of(exchange_id: str, credentials: Credentials | None) -> object:
        template = templates.make(exchange_id, Environment.LIVE, QUICK)
        return templates.connect(template, credentials).in_order

    own = Credentials(api_key=secrets.token_hex(8), api_secret=secrets.token_hex(8))
    for exchange_id in ("bitfinex", "bitso", "gemini", "kraken", "whitebit"):
        locks = [await order_of(exchange_id, own) for _ in range(2)]
        assert None not in locks
        assert locks[0] is not locks[1]
        assert await order_of(exchange_id, None) is None
    for exchange_id in ("binance", "gate", "hyperliquid", "kucoin", "okx"):
        assert await order_of(exchange_id, own) is None


async def test_nesting_that_would_exhaust_the_stack_is_not_json() -> None:
    template = templates.make("binance", Environment.LIVE, QUICK)

    assert template.parse_json("[" * 200_000) is None


@pytest.mark.parametrize("number", ['"1e10000000"', "-1.5E+999999", '"3e-0000001"'])
async def test_a_number_whose_zeros_would_fill_the_memory_is_not_json(number: str) -> None:
    template = templates.make("binance", Environment.LIVE, QUICK)

    assert template.parse_json(f'{{"a": [{number}]}}') is None


async def test_an_id_that_happens_to_look_like_such_a_number_is_read() -> None:
    template = templates.make("kucoin", Environment.LIVE, QUICK)

    assert template.parse_json('{"orderId": "670fd33bf9406e0007122345"}') is not None
    assert template.parse_json('{"orderId": "670123331940650e07122345"}') == {
        "orderId": "670123331940650e07122345"
    }


async def test_what_only_looks_like_such_a_number_is_kept() -> None:
    template = templates.make("binance", Environment.LIVE, QUICK)
    text = '{"hash": "af31e1234567", "id": "0x2e123456", "small": "1e-8"}'

    assert template.parse_json(text) == {"hash": "af31e1234567", "id": "0x2e123456", "small": "1e-8"}


class Sent(ccxt.NetworkError):  # type: ignore[misc]  # ccxt ships no types
    """Stands for an exchange: what arrives here would have been sent."""


async def send(*_: object) -> object:
    raise Sent("it would have been sent")


async def at_once(_: object = None) -> None:
    """Stands for a turn of the throttle."""


async def test_every_exchange_of_the_catalogue_gets_as_far_as_its_first_request() -> None:
    unsent: dict[str, set[str]] = {"markets": set(), "balance": set()}
    extra = ("accountId", "login", "privateKey", "token", "twofa", "uid", "walletAddress")
    for exchange_id in [each.id for each in Catalogue.load().exchanges if each.id != "paper"]:
        template = templates.make(exchange_id, Environment.LIVE, QUICK)
        garbage = {name: secrets.token_hex(32) for name in (*extra, "api_key", "api_secret", "passphrase")}
        named = {name: garbage.pop(name) for name in ("api_key", "api_secret", "passphrase")}
        public = templates.connect(template)
        private = templates.connect(template, Credentials(**named, extra=garbage))
        private.markets = {"A/B": {}}
        for connector in (public, private):
            connector.fetch, connector.throttle = send, at_once
        for what, asked in (("markets", public.load_markets(True)), ("balance", private.fetch_balance())):
            try:
                await asked
            except Sent:
                continue
            except Exception:  # noqa: BLE001 - whatever a class of ccxt's raises is what is looked for
                unsent[what].add(exchange_id)

    # These two name no markets to the public; the others see before they send that the credentials are garbage.
    assert unsent == {
        "markets": {"alpaca", "mudrex"},
        "balance": {
            *("coinbaseinternational", "gemini", "grvt", "hibachi", "lbank", "modetrade", "nado"),
            *("polymarket", "revolutx", "woofipro"),
        },
    }


async def test_every_exchange_can_be_made_and_its_sandbox_where_there_is_one() -> None:
    catalogue = Catalogue.load()
    for exchange_id in ("binance", "okx", "bybit", "bitfinex", "mexc"):
        known = catalogue.find(exchange_id)
        assert known is not None
        if known.has_sandbox:
            live = templates.make(exchange_id, Environment.LIVE, QUICK)
            sandbox = templates.make(exchange_id, Environment.SANDBOX, QUICK)
            assert (live.urls["api"], live.headers) != (sandbox.urls["api"], sandbox.headers)
        else:
            with pytest.raises(FailedPrecondition) as refused:
                templates.make(exchange_id, Environment.SANDBOX, QUICK)
            assert refused.value.reason == "SANDBOX_UNSUPPORTED"


async def test_the_base_url_of_the_live_exchange_is_not_that_of_its_sandbox() -> None:
    urls = {"okx": "http://127.0.0.1:1/live"}
    with pytest.raises(FailedPrecondition, match="none for its sandbox") as refused:
        templates.make("okx", Environment.SANDBOX, replace(QUICK, urls=urls))
    assert refused.value.reason == "SANDBOX_UNSUPPORTED"

    both = replace(QUICK, urls={**urls, "okx:sandbox": "http://127.0.0.1:1/test"})
    for environment, base_url in zip(Environment, ("live", "test"), strict=True):
        assert templates.make("okx", environment, both).urls["api"]["rest"].endswith(base_url)


def test_a_base_url_stands_for_every_host_however_it_is_written() -> None:
    base = "http://127.0.0.1:8080/venue"
    urls = {
        "public": "https://api.{hostname}/api/v3",
        "nested": {"spot": "https://{hostname}", "deep": {"x": "wss://x.example/y"}},
        "none": None,
    }

    assert templates.rebased(urls, base + "/") == {
        "public": f"{base}/api/v3",
        "nested": {"spot": base, "deep": {"x": f"{base}/y"}},
        "none": None,
    }


def test_every_url_of_every_exchange_can_be_replaced() -> None:
    def leaves(urls: Any) -> Iterator[object]:
        if isinstance(urls, dict):
            for each in urls.values():
                yield from leaves(each)
        else:
            yield urls

    for exchange_id in ("binance", "kraken", "okx", "kucoin", "gate", "bybit"):
        urls = getattr(ccxt, exchange_id)().urls["api"]
        replaced = list(leaves(templates.rebased(urls, "http://127.0.0.1:1")))
        assert all(url is None or str(url).startswith("http://127.0.0.1:1") for url in replaced)
