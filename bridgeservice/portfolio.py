"""What an account holds: its connectors asked all at once, and what that is worth where someone asks."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from time import monotonic

from bridgeservice.accounts import Accounts
from bridgeservice.prices import Place, Price, Prices
from bridgeservice.readings import Readings, failed
from bridgeservice.records import Connector, Holding, Portfolio, Reading, ReadStatus
from servicekit import logs
from servicekit.errors import Internal, KeybridgeError

# Of the time for an answer, so that a connector that hangs does not cost the others their values.
_SHARE_OF_READING = 0.75

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of an account."""

    account_name: str
    connector_names: Sequence[str] = ()
    """Only these; all, where none is named."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """What some of these have to have; one that is held in another revision is not asked for anything."""
    quote_asset: str = ""
    """What to value the holdings in; empty for not at all."""
    max_age: float = 0.0
    """How many seconds old figures may be."""
    within: float | None = None
    """How many seconds there are for it."""


class Portfolios:
    """Answers for each connector on its own: one that fails says so, and touches no other."""

    def __init__(self, accounts: Accounts, readings: Readings, prices: Prices) -> None:
        self._accounts = accounts
        self._readings = readings
        self._prices = prices

    async def get(self, wish: Wish) -> Portfolio:
        account = self._accounts.get(wish.account_name)
        connectors = {
            name: connector
            for name, connector in account.connectors.items()
            if wish.revisions.get(name, connector.revision) == connector.revision
        }
        names = list(dict.fromkeys(wish.connector_names)) or sorted(connectors)
        begun = monotonic()
        share = _SHARE_OF_READING if wish.quote_asset else 1.0
        within = None if wish.within is None else wish.within * share
        read = await self._read_all(
            [connectors[name] for name in names if name in connectors], wish.max_age, within
        )
        holdings = [read[name] if name in read else _missing(name) for name in names]
        if not wish.quote_asset:
            return Portfolio(holdings, ())
        left = None if wish.within is None else wish.within - (monotonic() - begun)
        return await self._valued(holdings, connectors, replace(wish, within=left))

    async def _read_all(
        self, connectors: Sequence[Connector], max_age: float, within: float | None
    ) -> dict[str, Holding]:
        asked = [self._readings.of(each, max_age=max_age, within=within) for each in connectors]
        # Returned and not raised, so that what one connector fails with is not the fate of all.
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return {
            connector.name: _holding(connector, answer)
            for connector, answer in zip(connectors, answers, strict=True)
        }

    async def _valued(
        self, holdings: Sequence[Holding], connectors: Mapping[str, Connector], wish: Wish
    ) -> Portfolio:
        """The holdings with what each asset is worth on the exchange that holds it."""
        places: dict[Place, set[str]] = defaultdict(set)
        for holding in holdings:
            if holding.reading is not None:
                connector = connectors[holding.connector_name]
                assets = (balance.asset for balance in holding.reading.balances)
                places[connector.exchange, connector.environment].update(assets)
        prices = await self._all_priced(places, wish)
        unpriced: set[str] = set()
        valued = []
        for holding in holdings:
            if holding.reading is None:
                valued.append(holding)
                continue
            connector = connectors[holding.connector_name]
            known = prices[connector.exchange, connector.environment]
            values, without = _values(holding.reading, known, wish.quote_asset)
            valued.append(replace(holding, values=values))
            unpriced |= without
        return Portfolio(valued, sorted(unpriced))

    async def _all_priced(
        self, places: Mapping[Place, set[str]], wish: Wish
    ) -> dict[Place, Mapping[str, Price]]:
        asked = [
            self._prices.of(place, assets, wish.quote_asset, max_age=wish.max_age, within=wish.within)
            for place, assets in places.items()
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return {place: _prices(place, answer) for place, answer in zip(places, answers, strict=True)}


def _values(reading: Reading, prices: Mapping[str, Price], quote: str) -> tuple[dict[str, str], set[str]]:
    """What the assets are worth, and which of them have no price, or no total."""
    values: dict[str, str] = {}
    unpriced = set()
    for balance in reading.balances:
        price = Price(Decimal(1)) if balance.asset == quote else prices.get(balance.asset)
        value = price.value(balance.total) if price else None
        if value is None:
            unpriced.add(balance.asset)
        else:
            values[balance.asset] = balance.total if balance.asset == quote else value
    return values, unpriced


def _prices(place: Place, answer: Mapping[str, Price] | BaseException) -> Mapping[str, Price]:
    """Prices as far as the exchange tells them; that it does not is told as assets without a price."""
    if not isinstance(answer, BaseException):
        return answer
    if isinstance(answer, KeybridgeError) and not isinstance(answer, Internal):
        _log.warning("holdings could not be valued", exchange=place[0], reason=answer.reason)
    else:
        _log.error("unforeseen error in valuing holdings", exchange=place[0], exc_info=answer)
    return {}


def _holding(connector: Connector, answer: Reading | BaseException) -> Holding:
    if isinstance(answer, Reading):
        return Holding(connector.name, connector.exchange, ReadStatus.OK, reading=answer)
    if isinstance(answer, KeybridgeError) and not isinstance(answer, Internal):
        return failed(connector, answer)
    _log.error("unforeseen error in reading a connector", exchange=connector.exchange, exc_info=answer)
    return failed(connector, Internal("The bridge failed to read this connector; its log says more."))


def _missing(name: str) -> Holding:
    return Holding(name, "", ReadStatus.NOT_FOUND, "The bridge holds no such connector.")
