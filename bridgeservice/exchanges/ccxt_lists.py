"""Open orders and trades, all of them: exchanges tell so many at once, and of so long a time, each in its own way.

What is here is called inside the boundary of ``CcxtExchange.call``. Any, throughout: ccxt ships no types.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import ccxt.async_support as ccxt

from bridgeservice.exchanges.convert import Raw
from bridgeservice.exchanges.exchange import NOT_SUPPORTED
from bridgeservice.exchanges.families import of_family
from servicekit.errors import FailedPrecondition

Params = Mapping[str, object]
Ask = Callable[[Params], Awaitable[Sequence[Raw]]]
Following = Callable[[Sequence[Raw], int], Params | None]
"""From a page, and how many there were with it, what asks for the next one; None after the last."""

Between = Callable[[datetime, datetime | None, int | None], Awaitable[tuple[list[Raw], bool]]]
"""What there was from one time until another, or until now, on so many pages at the most, and whether that is all."""

# So many pages are read of one span of time before it is divided instead.
_MOST_PAGES = 3
_EVER = timedelta(days=36_500)
# A span that is not divided any more: some exchanges count in whole seconds.
_SHORTEST_SPAN = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class TradeRules:
    """How an exchange tells of an account's trades."""

    page: int
    """How many at once."""
    following: Following | None = None
    """How further pages are asked for; None where that is not known."""
    span: timedelta = _EVER
    """The longest time that one question may be about."""
    oldest_first: bool = False
    """Whether a question that names no end is answered from its beginning on."""
    by_market: bool = False
    """Whether it wants a market named."""
    of_all: bool = False
    """Whether it tells of all markets only."""
    early: timedelta = timedelta(0)
    """How much earlier it has to be asked, where what happened at the very moment is left out."""


async def open_orders(connector: Any, symbol: str | None) -> list[Raw]:
    """Those on one market, or on all."""
    if symbol is None and connector.id == "kucoin" and connector.options.get("hf"):
        answer = await connector.privateGetHfOrdersActiveSymbols()
        symbols = [connector.safe_symbol(market_id) for market_id in answer["data"]["symbols"]]
        return [order for each in symbols for order in await open_orders(connector, each)]

    async def ask(params: Params) -> Sequence[Raw]:
        page: Sequence[Raw] = await connector.fetch_open_orders(symbol, params=dict(params))
        return page

    try:
        found, _ = await _pages(ask, of_family(_NEXT_ORDERS, type(connector)) or _none_follows)
    except ccxt.ArgumentsRequired:
        if symbol is None:
            raise _market_required(connector.id) from None
        raise
    return found


async def trades(connector: Any, symbol: str | None, since: datetime, limit: int) -> list[Raw]:
    """The first ones from that time on, in their order; fewer than the limit only if there are no more up to now."""
    rules = _rules(connector, symbol)
    if symbol is None and rules.by_market:
        raise _market_required(connector.id)

    async def between(start: datetime, end: datetime | None, most: int | None) -> tuple[list[Raw], bool]:
        bound = {} if end is None else {"until": _milliseconds(end)}

        async def ask(params: Params) -> Sequence[Raw]:
            page: Sequence[Raw] = await connector.fetch_my_trades(
                None if rules.of_all else symbol,
                _milliseconds(start - rules.early),
                rules.page,
                {**bound, **params},
            )
            return page

        if rules.following is None:
            found = list(await ask({}))
            is_all = len(found) < rules.page
        else:
            found, is_all = await _pages(ask, rules.following, most)
        return [each for each in found if _is_wanted(each, symbol, start)], is_all

    found: dict[object, Raw] = {}
    spans = (_from_the_oldest if rules.oldest_first else _span_by_span)(between, since, rules.span)
    async with aclosing(spans):
        async for span in spans:
            found |= {(each["symbol"], each["id"]): each for each in span}
            if len(found) >= limit:
                break
    return sorted(found.values(), key=lambda each: (each["timestamp"], str(each["id"])))[:limit]


async def _from_the_oldest(
    between: Between, since: datetime, _: timedelta
) -> AsyncGenerator[list[Raw], None]:
    """Page by page: the next one begins where the one before ended."""
    while True:
        found, is_all = await between(since, None, 1)
        yield found
        last = max((_moment(each) for each in found), default=since)
        if is_all or last <= since:
            return
        since = last


async def _span_by_span(
    between: Between, since: datetime, longest: timedelta
) -> AsyncGenerator[list[Raw], None]:
    """Where the newest come first: all of one span after the other, each short enough to be told of as a whole."""
    now = datetime.now(UTC)
    start, end = since, min(_whole_seconds(since + longest), now)
    while True:
        is_last = end >= now
        is_divisible = end - start > _SHORTEST_SPAN
        found, is_all = await between(start, None if is_last else end, _MOST_PAGES if is_divisible else None)
        if is_divisible and not is_all:
            end = _whole_seconds(start + (end - start) / 2)
            continue
        yield found
        if is_last:
            return
        start, end = end, min(end + longest, now)


async def _pages(ask: Ask, following: Following, most: int | None = None) -> tuple[list[Raw], bool]:
    """What is on so many pages, and whether these are all."""
    found: list[Raw] = []
    params: Params | None = {}
    count = 0
    while params is not None and count != most:
        page = await ask(params)
        count += 1
        found += page
        params = following(page, count)
    return found, params is None


def _is_wanted(trade: Raw, symbol: str | None, start: datetime) -> bool:
    # Of a market that is no longer among an exchange's, ccxt can't tell the name.
    return (
        trade["symbol"] is not None
        and symbol in (None, trade["symbol"])
        and int(trade["timestamp"]) >= _milliseconds(start)
    )


def _whole_seconds(moment: datetime) -> datetime:
    """Where one span ends and the next begins: an exchange that counts in seconds would cut off what is between."""
    return moment.replace(microsecond=0)


def _moment(trade: Raw) -> datetime:
    return datetime.fromtimestamp(int(trade["timestamp"]) / 1000, UTC)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _market_required(exchange_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{exchange_id} tells of one market at a time: name it.",
        reason=NOT_SUPPORTED,
        metadata={"exchange": exchange_id},
    )


def _rules(connector: Any, symbol: str | None) -> TradeRules:
    known = of_family(_TRADES, type(connector)) or _described(connector)
    if symbol is not None and connector.market(symbol)["contract"] and connector.id != "okx":
        # Contracts have calls of their own. They are asked in the plainest way, which all of them understand.
        return TradeRules(page=100, span=min(known.span, timedelta(days=6)), by_market=True)
    return known


def _described(connector: Any) -> TradeRules:
    """What ccxt itself knows of an exchange that is not in the table."""
    told = ((connector.features or {}).get("spot") or {}).get("fetchMyTrades") or {}
    days = told.get("untilDays")
    return TradeRules(
        page=told.get("limit") or 100,
        span=_EVER if days is None else timedelta(days=days),
        # Where it can't be told an end, a page has to be taken for the first one.
        oldest_first=days is None,
        by_market=told.get("symbolRequired") is True,
    )


def _none_follows(_: Sequence[Raw], __: int) -> None:
    return None


def _next_gate_orders(page: Sequence[Raw], count: int) -> Params | None:
    """A page has up to a hundred of each market."""
    fullest = max(Counter(each["symbol"] for each in page).values(), default=0)
    return {"page": count + 1} if fullest >= 100 else None


def _next_okx_orders(page: Sequence[Raw], _: int) -> Params | None:
    return {"after": min((each["id"] for each in page), key=int)} if len(page) >= 100 else None


def _next_gate_trades(page: Sequence[Raw], count: int) -> Params | None:
    return {"page": count + 1} if len(page) >= 1000 else None


def _next_kraken_trades(page: Sequence[Raw], count: int) -> Params | None:
    return {"ofs": 50 * count} if len(page) >= 50 else None


def _next_kucoin_trades(page: Sequence[Raw], _: int) -> Params | None:
    return {"lastId": min(int(each["info"]["id"]) for each in page)} if len(page) >= 100 else None


def _next_okx_trades(page: Sequence[Raw], _: int) -> Params | None:
    return {"after": min((each["info"]["billId"] for each in page), key=int)} if len(page) >= 100 else None


_NEXT_ORDERS: Mapping[str, Following] = {"gate": _next_gate_orders, "okx": _next_okx_orders}
_TRADES: Mapping[str, TradeRules] = {
    "binance": TradeRules(page=1000, oldest_first=True, by_market=True),
    "gate": TradeRules(page=1000, following=_next_gate_trades, span=timedelta(days=29)),
    "kraken": TradeRules(page=50, following=_next_kraken_trades, of_all=True, early=timedelta(seconds=1)),
    "kucoin": TradeRules(page=100, following=_next_kucoin_trades, span=timedelta(days=6), by_market=True),
    "okx": TradeRules(page=100, following=_next_okx_trades),
}
