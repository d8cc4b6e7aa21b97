"""What the APIs of all simulated exchanges have in common: a call, an answer, routes, and who may take them."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import localcontext
from typing import Any
from urllib.parse import parse_qsl

from tests.simulator.accounts import Account, Permission
from tests.simulator.markets import Limits, Market
from tests.simulator.refusals import REFUSALS
from tests.simulator.venue import DIGITS, ClientIds, Venue

Json = Any
"""What JSON can hold: it has no better type."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as it was sent: signatures are over the bytes, so nothing is decoded yet."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str
    captured: Mapping[str, str] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, str]:
        """What the path, the query string and a form in the body say."""
        form = "" if self.body.startswith(("{", "[")) else self.body
        return {**dict(parse_qsl(self.query)), **dict(parse_qsl(form)), **self.captured}

    @property
    def json(self) -> Json:
        return json.loads(self.body or "{}")

    @property
    def target(self) -> str:
        """Path and query string."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; a body that is not text is sent as JSON."""

    body: Json
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else json.dumps(self.body)


class RefusedError(Exception):
    """The exchange says no, in these words."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call goes. A public handler is handed the call only, a private one the account too."""

    method: str
    pattern: re.Pattern[str]
    handler: Callable[..., Json]
    is_public: bool
    permission: Permission | None


def path_pattern(path: str) -> re.Pattern[str]:
    """``/orders/{order_id}`` as a pattern that captures ``order_id``."""
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "$")


class Dialect(ABC):
    """How one exchange speaks HTTP: its paths, signatures, bodies and errors."""

    name: str
    fees_in_quote = False
    limits: Limits
    client_ids = ClientIds.ALWAYS
    contracts: tuple[Market, ...] = ()

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self._routes: list[Route] = []

    def public(self, path: str, handler: Callable[[Call], Json]) -> None:
        self._routes.append(Route("GET", path_pattern(path), handler, is_public=True, permission=None))

    def private(
        self,
        method: str,
        path: str,
        handler: Callable[[Call, Account], Json],
        permission: Permission | None = None,
    ) -> None:
        """A path for whoever holds a key, or only one with this permission."""
        self._routes.append(
            Route(method, path_pattern(path), handler, is_public=False, permission=permission)
        )

    def answer(self, call: Call) -> Answer:
        for route in self._routes:
            found = route.pattern.match(call.path)
            if found and route.method == call.method:
                with localcontext(prec=DIGITS):
                    return self._take(route, replace(call, captured=found.groupdict()))
        return self.unknown_path()

    def _take(self, route: Route, call: Call) -> Answer:
        try:
            if route.is_public:
                return Answer(self.wrapped(route.handler(call)))
            account = self.authenticated(call)
            self.venue.keep_time(account)
            if route.permission and not account.may(route.permission):
                return self.forbidden()
            return Answer(self.wrapped(route.handler(call, account)))
        except RefusedError as refused:
            return refused.answer
        except REFUSALS as error:
            return self.refusal(error)

    def unknown_path(self) -> Answer:
        return Answer("Not Found", 404)

    def wrapped(self, data: Json) -> Json:
        """What a good answer looks like around its data."""
        return data

    @staticmethod
    @abstractmethod
    def order_id(number: int) -> str:
        """How this exchange writes the id of its n-th order."""

    @abstractmethod
    def authenticated(self, call: Call) -> Account:
        """Whose call this is, after everything that the exchange checks."""

    @abstractmethod
    def forbidden(self) -> Answer:
        """The key may not do this."""

    @abstractmethod
    def refusal(self, error: Exception) -> Answer:
        """One of the errors of a venue, in this exchange's words."""

    @abstractmethod
    def rate_limited(self, seconds: float, /) -> Answer:
        """Too many requests; in so many seconds there will be room."""

    def banned(self, seconds: float, /) -> Answer:
        """Far too many requests. Most exchanges have no other words for it."""
        return self.rate_limited(seconds)
