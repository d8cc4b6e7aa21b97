"""Pointing an unmodified ccxt exchange to a simulator."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt

from tests.simulator.accounts import AccountKeys

Connect = Callable[..., Awaitable[Any]]
"""``await connect("kraken", keys)``: a ccxt exchange that has its markets. ccxt has no types."""

Urls = Any
"""A string, or a dictionary of such, as deep as ccxt likes."""


def pointed_at(exchange: Any, base: str) -> Any:
    """The exchange, with ``base`` in place of scheme and host in all URLs of its API."""
    exchange.urls["api"] = moved(exchange.urls["api"], base)
    return exchange


def moved(urls: Urls, base: str) -> Urls:
    if isinstance(urls, dict):
        return {name: moved(url, base) for name, url in urls.items()}
    return base + urlsplit(urls).path if isinstance(urls, str) else urls


def connected(name: str, base: str, keys: AccountKeys | None = None) -> Any:
    """A ccxt exchange that talks to the simulator, in strings, and with these credentials if any."""
    config = {} if keys is None else {"apiKey": keys.api_key, "secret": keys.secret}
    if keys and keys.passphrase:
        config["password"] = keys.passphrase
    exchange = getattr(ccxt, name)(config)
    exchange.number = str
    exchange.enableRateLimit = False
    # There is no TLS on loopback: no certificates to load, and nothing to wait for when it is closed.
    exchange.verify = False
    exchange.timeout_on_exit = 0
    return pointed_at(exchange, base)
