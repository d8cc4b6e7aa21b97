"""The error table's rows of what exchanges say, code and reason of every class of ccxt."""

import secrets
from datetime import timedelta

import pytest
from ccxt.base import errors as ccxt_errors

from bridgeservice.exchanges.errors import exchange_errors
from tests.support.statuses import retry, status, told

REJECTED = ("FAILED_PRECONDITION", "CREDENTIALS_REJECTED")
LIMITED = ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
AWAY = ("UNAVAILABLE", "EXCHANGE_UNAVAILABLE")
NONSENSE = ("UNAVAILABLE", "EXCHANGE_BAD_RESPONSE")
REFUSED = ("FAILED_PRECONDITION", "EXCHANGE_ERROR")
CCXT = {
    "AuthenticationError": REJECTED,
    "PermissionDenied": REJECTED,
    "AccountNotEnabled": REJECTED,
    "AccountSuspended": REJECTED,
    "RateLimitExceeded": LIMITED,
    "DDoSProtection": LIMITED,
    "RequestTimeout": ("DEADLINE_EXCEEDED", "EXCHANGE_TIMEOUT"),
    "InvalidNonce": ("UNAVAILABLE", "CLOCK_SKEW"),
    "NetworkError": AWAY,
    "ExchangeNotAvailable": AWAY,
    "OnMaintenance": AWAY,
    "ExchangeClosedByUser": AWAY,
    "BadResponse": NONSENSE,
    "NullResponse": NONSENSE,
    "ChecksumError": NONSENSE,
    "OperationFailed": NONSENSE,
    "InsufficientFunds": ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS"),
    "InvalidOrder": ("INVALID_ARGUMENT", "INVALID_ORDER"),
    "OrderNotFound": ("NOT_FOUND", "ORDER_NOT_FOUND"),
    "OrderNotCached": ("NOT_FOUND", "ORDER_NOT_FOUND"),
    "BadSymbol": ("INVALID_ARGUMENT", "UNKNOWN_SYMBOL"),
    "BadRequest": ("INVALID_ARGUMENT", "BAD_REQUEST"),
    "ArgumentsRequired": ("INVALID_ARGUMENT", "BAD_REQUEST"),
    "DuplicateOrderId": ("ALREADY_EXISTS", "DUPLICATE_ORDER_ID"),
    "OrderImmediatelyFillable": ("FAILED_PRECONDITION", "ORDER_IMMEDIATELY_FILLABLE"),
    "OrderNotFillable": ("FAILED_PRECONDITION", "ORDER_NOT_FILLABLE"),
    "ContractUnavailable": ("FAILED_PRECONDITION", "CONTRACT_UNAVAILABLE"),
    "CancelPending": ("FAILED_PRECONDITION", "CANCEL_PENDING"),
    "NotSupported": ("FAILED_PRECONDITION", "NOT_SUPPORTED"),
    "MarketClosed": ("FAILED_PRECONDITION", "MARKET_CLOSED"),
    "RestrictedLocation": ("FAILED_PRECONDITION", "RESTRICTED_LOCATION"),
    "BaseError": REFUSED,
    "ExchangeError": REFUSED,
    "OperationRejected": REFUSED,
    "NoChange": REFUSED,
    "MarginModeAlreadySet": REFUSED,
    "ManualInteractionNeeded": REFUSED,
    "InvalidAddress": REFUSED,
    "AddressPending": REFUSED,
    "InvalidProxySettings": REFUSED,
    "UnsubscribeError": REFUSED,
}


def test_the_rows_below_are_all_of_ccxt() -> None:
    assert CCXT.keys() == {name for name, value in vars(ccxt_errors).items() if isinstance(value, type)}


@pytest.mark.parametrize("name", CCXT)
async def test_each_error_of_an_exchange_has_its_row(name: str) -> None:
    signature, (code, reason) = secrets.token_hex(), CCXT[name]

    async def behind() -> None:
        with exchange_errors("binance"):
            raise getattr(ccxt_errors, name)(f"GET https://api.invalid/?signature={signature} <html>")

    got = await told(behind)
    more = (retry(timedelta(seconds=10)),) if code == "RESOURCE_EXHAUSTED" else ()
    assert got == status(code, got.message, reason, *more, exchange="binance", ccxt_error=name)
    assert "binance" in got.message
    assert signature not in str(got)


async def test_an_exchange_that_names_a_time_to_come_again_is_quoted() -> None:
    async def behind() -> None:
        with exchange_errors("okx", retry_after=lambda _: timedelta(seconds=90)):
            raise ccxt_errors.RateLimitExceeded("429")

    got = await told(behind)
    assert got.details[1] == status("OK", "", "", retry(timedelta(seconds=90))).details[1]
