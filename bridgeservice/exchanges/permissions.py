"""What credentials may do, for the exchanges that tell. Elsewhere a private read proves them, and no more is known.

A table: exchange → the private call that tells, and how its answer reads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ccxt.async_support as ccxt

from bridgeservice.exchanges import convert
from bridgeservice.exchanges.exchange import Permission, Permissions

# What an exchange answers where it does not serve the question, or not for these credentials. An exchange that
# refuses the credentials themselves raises something else.
_DOES_NOT_TELL = (ccxt.PermissionDenied, ccxt.NotSupported, ccxt.BadRequest)

PROVEN_READ = Permissions(read=Permission.YES, trade=Permission.UNKNOWN, withdraw=Permission.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Question:
    """``method`` is ccxt's name of the private call."""

    method: str
    read: Callable[[Mapping[str, Any]], Permissions]


async def ask(connector: Any) -> Permissions:
    """Prove the credentials with a private call, and say what they may do. Any: ccxt ships no types."""
    if question := QUESTIONS.get(connector.id):
        try:
            return question.read(await getattr(connector, question.method)())
        except _DOES_NOT_TELL:
            pass
    convert.balances(connector.id, await connector.fetch_balance())
    return PROVEN_READ


def _yes(value: object) -> Permission:
    return Permission.YES if value is True or value in (1, "1", "true") else Permission.NO


def _any(granted: Iterable[str], *names: str) -> Permission:
    return _yes(not {name.strip().lower() for name in granted}.isdisjoint(names))


def _binance(answer: Mapping[str, Any]) -> Permissions:
    trades = ("enableSpotAndMarginTrading", "enableMargin", "enableFutures")
    return Permissions(
        read=_yes(answer["enableReading"]),
        trade=_yes(any(_yes(answer.get(name)) is Permission.YES for name in trades)),
        withdraw=_yes(answer["enableWithdrawals"]),
    )


def _okx(answer: Mapping[str, Any]) -> Permissions:
    granted = answer["data"][0]["perm"].split(",")
    return Permissions(
        read=Permission.YES,  # this answer is itself a private read
        trade=_any(granted, "trade"),
        withdraw=_any(granted, "withdraw"),
    )


def _bybit(answer: Mapping[str, Any]) -> Permissions:
    key = answer["result"]
    granted = [name for names in key["permissions"].values() for name in names]
    read_only = _yes(key["readOnly"]) is Permission.YES
    return Permissions(
        read=Permission.YES,
        trade=_yes(
            not read_only
            and _any(granted, "spottrade", "order", "optionstrade", "derivativestrade") is Permission.YES
        ),
        withdraw=_yes(not read_only and _any(granted, "withdraw") is Permission.YES),
    )


def _kucoin(answer: Mapping[str, Any]) -> Permissions:
    granted = answer["data"]["permission"].split(",")
    return Permissions(
        read=Permission.YES,
        trade=_any(granted, "trade", "spot", "margin", "futures", "unified"),
        # "Transfer" is the older name: it covers withdrawals and transfers between accounts.
        withdraw=_any(granted, "transfer", "withdraw", "withdrawal"),
    )


def _kraken(answer: Mapping[str, Any]) -> Permissions:
    granted = answer["result"]["permissions"]
    return Permissions(
        read=_any(granted, "query-funds"),
        trade=_any(granted, "modify-trades", "create-orders"),
        withdraw=_any(granted, "withdraw-funds"),
    )


QUESTIONS: Mapping[str, Question] = {
    "binance": Question("sapiGetAccountApiRestrictions", _binance),
    "bybit": Question("privateGetV5UserQueryApi", _bybit),
    "kraken": Question("privatePostGetApiKeyInfo", _kraken),
    "kucoin": Question("privateGetUserApiKey", _kucoin),
    "okx": Question("privateGetAccountConfig", _okx),
}
