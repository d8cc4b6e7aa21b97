"""The template of one exchange in one environment: the ccxt object that all of its connectors are copies of.

A template makes no calls and is never given credentials. What a copy shares with it is ``SHARED``; everything else
that could be written to is copied, deeply.
"""

import asyncio
import copy
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt

from bridgeservice.exchanges.breaker import Breaker
from bridgeservice.exchanges.catalogue import CREDENTIAL_NAMES
from bridgeservice.exchanges.exchange import Environment
from bridgeservice.exchanges.guarded import SILENT, Guarded, Line
from bridgeservice.exchanges.limits import Throttle
from bridgeservice.exchanges.options import Options
from servicekit.credentials import Credentials
from servicekit.errors import FailedPrecondition

# Attributes that all connectors of an exchange share. ccxt reads them and never writes into them.
# What describe() says about the exchange:
DESCRIBED = frozenset(
    {
        *("api", "certified", "commonCurrencies", "countries", "ecdsaCurves", "ecdsaPrehashedAlgorithms"),
        *("exceptions", "features", "fees", "has", "httpExceptions", "limits", "loadedFees", "precision"),
        *("requiredCredentials", "status", "timeframes", "tokenBucket", "userAgents"),
    }
)
# Its markets, under both spellings that ccxt keeps:
MARKETS = frozenset(
    {
        *("markets", "markets_by_id", "marketsById", "symbols", "ids", "codes"),
        *("currencies", "currencies_by_id", "currenciesById", "baseCurrencies", "quoteCurrencies"),
    }
)
# The way to it:
WAY = frozenset({"asyncio_loop", "line", "logger", "session", "throttler"})
SHARED = DESCRIBED | MARKETS | WAY

# The same within ``options``: an index of the markets by another of their names, as large as they are.
SHARED_OPTIONS = frozenset({"marketsByAltname"})

# What exchanges say, as a whole, that ccxt takes for an error of another kind.
MISREAD: Mapping[str, Mapping[str, type[Exception]]] = {
    "binance": {"Duplicate order sent.": ccxt.DuplicateOrderId},
    "gate": {"REPEATED_CREATION": ccxt.DuplicateOrderId},
    "kraken": {
        "EAPI:Invalid signature": ccxt.AuthenticationError,
        "EOrder:Unknown order": ccxt.OrderNotFound,
    },
    "kucoin": {
        "126033": ccxt.DuplicateOrderId,
        "126044": ccxt.DuplicateOrderId,
        "300018": ccxt.DuplicateOrderId,
        "408000": ccxt.RequestTimeout,  # within the exchange: what became of the request is open
    },
    "okx": {
        "50119": ccxt.AuthenticationError,  # the API key does not exist
        "50120": ccxt.PermissionDenied,
        "51011": ccxt.DuplicateOrderId,
        "51016": ccxt.DuplicateOrderId,
        "51169": ccxt.InvalidOrder,  # there is nothing to reduce
    },
}

# The same for the beginnings of what they say. Without these ccxt knows no more than that kraken refuses something.
MISREAD_BEGINNINGS: Mapping[str, Mapping[str, type[Exception]]] = {
    "kraken": {
        "EOrder:Cost minimum not met": ccxt.InvalidOrder,
        "EOrder:Duplicate": ccxt.DuplicateOrderId,
        "EOrder:Invalid price": ccxt.InvalidOrder,
        "EOrder:Post only order": ccxt.OrderImmediatelyFillable,
        "EOrder:Tick size check failed": ccxt.InvalidOrder,
    },
}

_CONTAINERS = (dict, list, set)

_classes: dict[str, type[Guarded]] = {}


def make(exchange_id: str, environment: Environment, options: Options) -> Any:
    """The template, ready to be copied once it is given a session; it has no markets yet.

    Any, here and below: ccxt ships no types.
    """
    template = _class(exchange_id)(
        {
            "number": str,
            "enableRateLimit": False,  # ``Guarded.fetch2`` waits for the turn of each request itself
            "enableLastHttpResponse": False,
            "enableLastResponseHeaders": False,
            "logger": SILENT,
            "session": None,
            "asyncio_loop": asyncio.get_running_loop(),
        }
    )
    _set_options(template.options)
    template.exceptions = template.exceptions or {}  # some classes have none
    for ancestor in type(template).__mro__:  # okxus is an okx too
        for how, words in (("exact", MISREAD), ("broad", MISREAD_BEGINNINGS)):
            template.exceptions.setdefault(how, {}).update(words.get(ancestor.__name__, {}))
    template.line = line = _line(template, environment, options)
    if environment is Environment.SANDBOX:
        _enter_sandbox(template)
    if line.base_url:
        template.urls["api"] = rebased(template.urls["api"], line.base_url)
    if options.proxy_url:
        template.aiohttp_proxy = options.proxy_url
    return template


def _set_options(options: dict[str, Any]) -> None:
    options["maxRetriesOnFailure"] = 0  # ccxt would send an order again
    # Where a market order to buy is sized by what it may cost, ccxt has to refuse it: for some exchanges it would take
    # the amount for that.
    for chosen in (options, options.get("createOrder")):
        if isinstance(chosen, dict):
            chosen["createMarketBuyOrderRequiresPrice"] = True
    # ccxt warns by refusing. That all open orders cost more than those of one market is in the throttle's costs.
    options["warnOnFetchOpenOrdersWithoutSymbol"] = False
    options["acknowledged"] = True  # bybit's: that an order is no longer found once there are 500 newer ones


def _line(template: Any, environment: Environment, options: Options) -> Line:
    interval = timedelta(milliseconds=float(template.rateLimit) / options.rate_share)
    return Line(
        throttle=Throttle(template.id, interval, options.longest_queue),
        breaker=Breaker(template.id, options.breaker_failures, options.breaker_pause),
        options=options,
        base_url=_base_url(template.id, environment, options.urls).rstrip("/"),
    )


def _base_url(exchange_id: str, environment: Environment, urls: Mapping[str, str]) -> str:
    if environment is Environment.LIVE:
        return urls.get(exchange_id, "")
    if exchange_id in urls and f"{exchange_id}:sandbox" not in urls:
        # Neither is right: the address of the live exchange's stand-in, nor one that the settings do not name.
        raise FailedPrecondition(
            f"The bridge's settings name another address for {exchange_id}, and none for its sandbox.",
            reason="SANDBOX_UNSUPPORTED",
            metadata={"exchange": exchange_id},
        )
    return urls.get(f"{exchange_id}:sandbox", "")


def _class(exchange_id: str) -> type[Guarded]:
    # One class for each exchange, however often it is asked for: ccxt adds a thousand attributes to it.
    if exchange_id not in _classes:
        _classes[exchange_id] = type(exchange_id, (Guarded, getattr(ccxt, exchange_id)), {})
    return _classes[exchange_id]


def _enter_sandbox(template: Any) -> None:
    # set_sandbox_mode alone raises a TypeError where there is no test net, and leaves the live URLs in place.
    if not template.urls.get("test"):
        raise FailedPrecondition(
            f"{template.id} has no sandbox.", reason="SANDBOX_UNSUPPORTED", metadata={"exchange": template.id}
        )
    template.set_sandbox_mode(True)


def rebased(urls: Any, base_url: str) -> Any:
    """The same URLs, however nested, with the base URL in the place of scheme and host."""
    if isinstance(urls, Mapping):
        return {name: rebased(url, base_url) for name, url in urls.items()}
    # The host may be a placeholder in braces, which is fine: it goes.
    return base_url.rstrip("/") + urlsplit(urls).path if isinstance(urls, str) else urls


def connect(template: Any, credentials: Credentials | None = None) -> Any:
    """A copy of the template with these credentials, or with none, for what is public."""
    connector = copy.copy(template)
    attributes = vars(connector)
    for name, value in vars(template).items():
        if isinstance(value, _CONTAINERS) and name not in SHARED and name != "options":
            attributes[name] = _own_copy(value)
    attributes["options"] = {
        name: value if name in SHARED_OPTIONS else _own_copy(value)
        for name, value in template.options.items()
    }
    if credentials is not None:
        attributes.update(_named_for_ccxt(credentials))
        connector.reporter = id(connector)
        if template.counts_nonces:
            connector.in_order = asyncio.Lock()
    return connector


def share_markets(template: Any, connector: Any) -> None:
    """Give a connector the markets of a newer template."""
    for name in MARKETS & vars(template).keys():
        setattr(connector, name, getattr(template, name))
    for name in SHARED_OPTIONS & template.options.keys():
        connector.options[name] = template.options[name]


def _named_for_ccxt(credentials: Credentials) -> dict[str, str]:
    given = dict(credentials.named())
    return {theirs: given[ours] for theirs, ours in CREDENTIAL_NAMES.items() if ours in given}


def _own_copy(value: Any) -> Any:
    """A deep copy of what JSON can hold, several times as fast as ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {
            key: _own_copy(item) if isinstance(item, _CONTAINERS) else item for key, item in value.items()
        }
    if isinstance(value, list):
        return [_own_copy(item) if isinstance(item, _CONTAINERS) else item for item in value]
    return copy.deepcopy(value)
