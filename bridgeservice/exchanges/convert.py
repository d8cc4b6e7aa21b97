"""ccxt's dictionaries as our records. Numbers stay the text that the exchange sent, in plain decimal notation.

Whatever is not of the form that ccxt promises raises a ``LookupError``, ``TypeError`` or ``ValueError``, which
``understood`` makes an error of ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ccxt.base.decimal_to_precision import DECIMAL_PLACES, TICK_SIZE

from bridgeservice.amounts import is_plain
from bridgeservice.exchanges.exchange import Balance, Candle, Market, MarketType, OrderBook, Ticker
from servicekit.errors import Unavailable

# ccxt ships no types: what comes from it is a mapping of anything.
Raw = Mapping[str, Any]

_MARKET_TYPES = {kind.value: kind for kind in MarketType}
# Where an exchange's answer holds the balances, and as what; empty for the answer itself. Elsewhere a list or an
# object anywhere in the answer may be an empty account.
_PLACES: Mapping[str, tuple[str, type]] = {
    "binance": ("balances", list),
    "binanceus": ("balances", list),
    "bybit": ("result", dict),
    "gate": ("", list),
    "kraken": ("result", dict),
    "okx": ("data", list),
}
# A number beyond this is no amount of anything, and writing out its zeros would cost memory.
_LARGEST_EXPONENT = 64


@contextmanager
def understood(exchange: str) -> Iterator[None]:
    """An answer that ccxt or we stumble over is the exchange's failure: one status, and nothing of the answer."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Unavailable(
            f"{exchange} gave an answer that cannot be understood.",
            reason="EXCHANGE_BAD_RESPONSE",
            metadata={"exchange": exchange, "cause": type(error).__name__},
        ) from None


def number(value: object) -> str:
    """A decimal string with the digits that were given; empty for None."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    if is_plain(text):
        return text
    return _written_out(text)


def _written_out(text: str) -> str:
    parsed = Decimal(text)
    if not parsed.is_finite() or abs(parsed.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError("not an amount")
    return format(parsed if parsed else parsed.copy_abs(), "f")


def moment(milliseconds: object) -> datetime | None:
    """ccxt's time; None where it gives none."""
    return None if milliseconds is None else datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC)


def balances(exchange_id: str, answer: Raw) -> list[Balance]:
    """What there is something of, by asset."""
    if not answer["total"] and not _is_account(exchange_id, answer["info"]):
        raise ValueError("no balances")
    found = (_balance(asset, answer[asset]) for asset in answer["total"])
    return sorted((each for each in found if _is_something(each)), key=lambda each: each.asset)


def _is_account(exchange_id: str, given: Any) -> bool:
    """Whether an answer without balances is an account that holds nothing. ccxt takes any answer for one."""
    if (place := _PLACES.get(exchange_id)) is not None:
        name, kind = place
        return isinstance(given[name] if name else given, kind)
    return isinstance(given, list) or any(isinstance(each, dict | list) for each in given.values())


def _balance(asset: str, held: Raw) -> Balance:
    free, used, total = (number(held.get(name)) for name in ("free", "used", "total"))
    if total and free and Decimal(total) == Decimal(free):
        # ccxt computes one of the two, and drops the zeros at the end that the exchange wrote.
        free = total = max(free, total, key=len)
    return Balance(asset=asset, free=free, used=used, total=total)


def _is_something(balance: Balance) -> bool:
    return any(Decimal(each) for each in (balance.free, balance.used, balance.total) if each)


def ticker(answer: Raw) -> Ticker:
    return Ticker(
        symbol=answer["symbol"],
        bid=number(answer.get("bid")),
        ask=number(answer.get("ask")),
        last=number(answer.get("last")),
        volume=number(answer.get("baseVolume")),
        time=moment(answer.get("timestamp")),
    )


def order_book(symbol: str, answer: Raw, depth: int) -> OrderBook:
    return OrderBook(
        symbol=symbol,
        # ccxt sorts prices as text, where 9 comes after 10.
        bids=sorted(_offers(answer["bids"]), key=_price, reverse=True)[:depth],
        asks=sorted(_offers(answer["asks"]), key=_price)[:depth],
        time=moment(answer.get("timestamp")),
    )


def _offers(answer: Sequence[Sequence[Any]]) -> list[tuple[str, str]]:
    return [(number(offer[0]), number(offer[1])) for offer in answer]


def _price(offer: tuple[str, str]) -> Decimal:
    return Decimal(offer[0])


def candle(answer: Sequence[Any]) -> Candle:
    start = moment(answer[0])
    if start is None:
        raise ValueError("a candle without a time")
    first, high, low, last, volume = (number(each) for each in answer[1:6])
    return Candle(time=start, open=first, high=high, low=low, close=last, volume=volume)


def markets(described: Mapping[str, Raw], precision_mode: int) -> dict[str, Market]:
    """All markets by symbol."""
    return {symbol: _market(each, precision_mode) for symbol, each in described.items()}


def _market(described: Raw, precision_mode: int) -> Market:
    precision = described.get("precision") or {}
    limits = described.get("limits") or {}
    return Market(
        symbol=described["symbol"],
        type=_MARKET_TYPES.get(described.get("type") or "", MarketType.OTHER),
        base=described.get("base") or "",
        quote=described.get("quote") or "",
        settle=described.get("settle") or "",
        active=described.get("active") is not False,
        amount_step=_step(precision.get("amount"), precision_mode),
        price_step=_step(precision.get("price"), precision_mode),
        min_amount=_bound(limits, "amount", "min"),
        max_amount=_bound(limits, "amount", "max"),
        min_price=_bound(limits, "price", "min"),
        max_price=_bound(limits, "price", "max"),
        min_cost=_bound(limits, "cost", "min"),
        max_cost=_bound(limits, "cost", "max") or _unread_max_cost(described),
        contract_size=number(described.get("contractSize")),
    )


def _unread_max_cost(described: Raw) -> str:
    """What gate bounds every order by; ccxt reads it of markets with margin only."""
    told = described.get("info")
    return number(told.get("max_quote_amount")) if isinstance(told, Mapping) else ""


def _step(precision: object, mode: int) -> str:
    if precision is None:
        return ""
    if mode == TICK_SIZE:
        return number(precision)
    # A number of significant digits is no step.
    return format(Decimal(1).scaleb(-int(str(precision))), "f") if mode == DECIMAL_PLACES else ""


def _bound(limits: Raw, what: str, side: str) -> str:
    return number((limits.get(what) or {}).get(side))
