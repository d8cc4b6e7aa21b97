"""What we change about a ccxt exchange: a class that is mixed in before ccxt's own, the same for all of them.

Every request of every connector passes here. It waits for its turn, its answer is bounded, exact to the digit and
JSON, and what the exchange says about coming again is heard.
"""

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiohttp
import ccxt.async_support as ccxt

from bridgeservice.deadlines import while_wanted
from bridgeservice.exchanges.breaker import Breaker
from bridgeservice.exchanges.limits import Throttle, named_pause
from bridgeservice.exchanges.options import Options
from bridgeservice.precedence import standing
from servicekit.errors import DeadlineExceeded

# ccxt writes headers and URLs, with keys and signatures in them, to its logger. This one passes nothing on, and
# as no name is registered for it, no configuration of logging can change that.
SILENT = logging.Logger("silent", level=logging.CRITICAL + 1)  # noqa: LOG001

# Answers in which an exchange says that this address, not one account, has asked too often.
_TOO_OFTEN = frozenset({418, 429})
SERVER_FAILED = 500

# An exponent that no amount has, and the number before it. ccxt would write out its zeros, for seconds.
_HUGE_EXPONENT = re.compile(r"[eE][+-]?\d{6,}(?=[\"\s,}\]])", re.ASCII)
_NUMBER = re.compile(r"[\"\s:,\[](-?\d+(?:\.\d*)?)\Z", re.ASCII)
_SHORTEST_IDENTIFIER = 16
_LONGEST_NUMBER = 5000  # Python itself refuses longer ones


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """What all connectors of one exchange share towards it."""

    throttle: Throttle
    breaker: Breaker
    options: Options
    base_url: str
    """Where every request must go, if a setting says so; empty for the exchange's own hosts."""


@dataclass(slots=True)
class Attempt:
    """What became of the requests of one call, for whoever has to know whether the exchange heard of it."""

    sent: int = 0
    """How many may have reached it."""
    status: int = 0
    """The HTTP status of its last answer; 0 without any."""


# That of the call which this task makes.
attempt: ContextVar[Attempt | None] = ContextVar("keybridge_attempt", default=None)

# What says that no connection was made, so that there was none to send a request through.
_UNCONNECTED = (aiohttp.ClientConnectorError, socket.gaierror)


def exact_json(text: str) -> object:
    """Parse JSON without turning a number into a float: every digit survives, as text."""
    for found in _HUGE_EXPONENT.finditer(text):
        number = _NUMBER.search(text[max(0, found.start() - _LONGEST_NUMBER) : found.start()])
        if number and not _is_identifier(number[1] + found[0]):
            raise ValueError("a number beyond all bounds")
    try:
        return json.loads(text, parse_float=str)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is_identifier(number: str) -> bool:
    """An id in hexadecimal digits that are decimal but for one e: of all that are 24 long, one in 50,000 is."""
    return number[1:].isalnum() and len(number) >= _SHORTEST_IDENTIFIER


class Guarded(ccxt.Exchange):  # type: ignore[misc]  # ccxt ships no types
    """Mixed in before an exchange's class; ``templates.py`` does so."""

    line: Line
    reporter: int | None = None
    """Who meets a failure, where a connector's own account may be why; None for what is public."""
    in_order: asyncio.Lock | None = None
    """Held from signing to the answer, where requests are refused that arrive in another order than they were signed
    in; None elsewhere, and for what is public."""

    on_json_response = staticmethod(exact_json)

    def __del__(self) -> None:
        """Nothing: the HTTP session is not the connector's, and ccxt would warn that it is open."""

    def open(self, lazy: bool = False) -> None:
        """Nothing: the HTTP session is there already."""

    def set_last_request(self, request: object) -> None:
        """Nothing: ccxt would keep the signed request."""

    def calculate_rate_limiter_cost(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().calculate_rate_limiter_cost(*arguments, **named)
        except TypeError:
            return 1.0  # pacifica compares the cost as a number, which with us is text

    async def throttle(self, cost: float | None = None) -> None:
        self.line.breaker.refuse()
        await self.line.throttle.turn(1.0 if cost is None else float(cost), lambda: standing(self.reporter))

    @property
    def counts_nonces(self) -> bool:
        """Whether a request's signature holds a number that has to be larger than that of the request before.

        ccxt has one counter for all such exchanges, and tells by nothing else which they are. Those that use it
        elsewhere than in signing (hyperliquid, derive, hibachi) want it to be new, and not to grow.
        """
        return ccxt.Exchange.incrementing_nonce.__name__ in super().sign.__code__.co_names

    async def fetch2(
        self,
        path: str,
        api: object = "public",
        method: str = "GET",
        params: Mapping[str, object] = {},
        config: Mapping[str, object] = {},
    ) -> Any:
        await self.throttle(self.calculate_rate_limiter_cost(api, method, path, params, config))
        async with self._in_order():
            self.line.throttle.refuse_while_cooling()
            # Only now, as a trial that waits for its turn may be given up before it is one.
            self.line.breaker.admit()
            return await super().fetch2(path, api, method, params, config)

    @asynccontextmanager
    async def _in_order(self) -> AsyncIterator[None]:
        """Once the requests before are answered, where their order counts. Who is not wanted any more by then is told
        so, and does not wait in the way of others.
        """
        if self.in_order is None:
            yield
            return
        try:
            async with while_wanted():
                await self.in_order.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self.id} did not answer in time what this connector had asked before; this call was not sent.",
                reason="EXCHANGE_TIMEOUT",
                metadata={"exchange": self.id},
            ) from None
        try:
            yield
        finally:
            self.in_order.release()

    async def load_markets(self, reload: bool = False, params: Mapping[str, object] = {}) -> Any:
        """Return what is there without a task of its own, which ccxt makes each time."""
        if self.markets and not reload:
            return self.markets
        return await super().load_markets(reload, params)

    async def load_markets_helper(self, reload: bool = False, params: Mapping[str, object] = {}) -> Any:
        """As ccxt does it, with the part that takes half a second for thousands of markets in a thread."""
        del reload  # whoever asks for less than a load has been answered by ``load_markets``
        currencies = None
        if self.has["fetchCurrencies"] is True:
            currencies = await self.fetch_currencies()
            self.options["cachedCurrencies"] = currencies
        markets = await self.fetch_markets(params)
        self.options.pop("cachedCurrencies", None)
        return await asyncio.to_thread(self.set_markets, markets, currencies)

    def sign(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().sign(*arguments, **named)
        except (ValueError, TypeError, LookupError, AssertionError):
            # A secret that should have been base64, hexadecimal or a PEM block, and is not.
            raise ccxt.AuthenticationError("the credentials are not of the form that signing needs") from None

    async def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        if not url.startswith(self.line.base_url):
            raise ccxt.NotSupported("a request outside of the base URL that the settings name")
        if self.session.closed:
            raise ccxt.ExchangeClosedByUser("the exchange was closed meanwhile")
        under_way = attempt.get() or Attempt()
        under_way.sent, under_way.status = under_way.sent + 1, 0
        started = monotonic()
        # Not the caller's time: others may wait for the same answer, and whoever waits keeps his own deadline.
        self.timeout = 1000 * self.line.options.request_timeout.total_seconds()
        try:
            answer = await super().fetch(url, method, headers, body)
        except (asyncio.CancelledError, ccxt.RequestTimeout):
            if monotonic() - started >= self.line.options.patience.total_seconds():
                self.line.breaker.failed(self.reporter)
            raise
        except ccxt.NetworkError as error:
            if isinstance(error.__cause__, _UNCONNECTED):
                under_way.sent -= 1
            if isinstance(error.__cause__, aiohttp.ClientError | OSError):  # no answer at all
                self.line.breaker.failed()
            raise
        if not isinstance(answer, dict | list):
            # ccxt hands text on, and many an exchange's class finds no balances in it instead of an error.
            raise ccxt.BadResponse("the answer is not JSON")
        return answer

    def handle_errors(
        self,
        status: int,
        status_text: str,
        url: str,
        method: str,
        headers: Mapping[str, str],
        body: str,
        *rest: Any,
    ) -> Any:
        """Hear what the answer says about the exchange as a whole, then let ccxt read it."""
        if (under_way := attempt.get()) is not None:
            under_way.status = status
        if status >= SERVER_FAILED:
            self.line.breaker.failed(self.reporter)
        else:
            self.line.breaker.answered()
        if status in _TOO_OFTEN:
            self.line.throttle.cool_down(named_pause(headers, body))
        # ccxt takes a refusal of credentials that once were right for a ban. A ban is told by its status, above.
        self.options.pop("hasAlreadyAuthenticatedSuccessfully", None)
        return super().handle_errors(status, status_text, url, method, headers, body, *rest)
