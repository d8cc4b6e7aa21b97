"""Every error of ccxt, and what becomes of it at the boundary."""

import asyncio
import secrets
import traceback
from datetime import timedelta

import ccxt.async_support
import pytest
from ccxt.base import errors as ccxt_errors

from bridgeservice.exchanges.errors import DEFAULT_RETRY_AFTER, exchange_errors, translate
from servicekit.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    KeybridgeError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

# Written out, not derived: a class that ccxt adds, drops or moves has to be looked at by someone.
EXPECTED: dict[str, tuple[type[KeybridgeError], str]] = {
    "BaseError": (FailedPrecondition, "EXCHANGE_ERROR"),
    "ExchangeError": (FailedPrecondition, "EXCHANGE_ERROR"),
    "AuthenticationError": (FailedPrecondition, "CREDENTIALS_REJECTED"),
    "PermissionDenied": (FailedPrecondition, "CREDENTIALS_REJECTED"),
    "AccountNotEnabled": (FailedPrecondition, "CREDENTIALS_REJECTED"),
    "AccountSuspended": (FailedPrecondition, "CREDENTIALS_REJECTED"),
    "ArgumentsRequired": (InvalidArgument, "BAD_REQUEST"),
    "BadRequest": (InvalidArgument, "BAD_REQUEST"),
    "BadSymbol": (InvalidArgument, "UNKNOWN_SYMBOL"),
    "OperationRejected": (FailedPrecondition, "EXCHANGE_ERROR"),
    "NoChange": (FailedPrecondition, "EXCHANGE_ERROR"),
    "MarginModeAlreadySet": (FailedPrecondition, "EXCHANGE_ERROR"),
    "MarketClosed": (FailedPrecondition, "MARKET_CLOSED"),
    "ManualInteractionNeeded": (FailedPrecondition, "EXCHANGE_ERROR"),
    "RestrictedLocation": (FailedPrecondition, "RESTRICTED_LOCATION"),
    "InsufficientFunds": (FailedPrecondition, "INSUFFICIENT_FUNDS"),
    "InvalidAddress": (FailedPrecondition, "EXCHANGE_ERROR"),
    "AddressPending": (FailedPrecondition, "EXCHANGE_ERROR"),
    "InvalidOrder": (InvalidArgument, "INVALID_ORDER"),
    "OrderNotFound": (NotFound, "ORDER_NOT_FOUND"),
    "OrderNotCached": (NotFound, "ORDER_NOT_FOUND"),
    "OrderImmediatelyFillable": (FailedPrecondition, "ORDER_IMMEDIATELY_FILLABLE"),
    "OrderNotFillable": (FailedPrecondition, "ORDER_NOT_FILLABLE"),
    "DuplicateOrderId": (AlreadyExists, "DUPLICATE_ORDER_ID"),
    "ContractUnavailable": (FailedPrecondition, "CONTRACT_UNAVAILABLE"),
    "NotSupported": (FailedPrecondition, "NOT_SUPPORTED"),
    "InvalidProxySettings": (FailedPrecondition, "EXCHANGE_ERROR"),
    "ExchangeClosedByUser": (Unavailable, "EXCHANGE_UNAVAILABLE"),
    "OperationFailed": (Unavailable, "EXCHANGE_BAD_RESPONSE"),
    "NetworkError": (Unavailable, "EXCHANGE_UNAVAILABLE"),
    "DDoSProtection": (ResourceExhausted, "RATE_LIMITED"),
    "RateLimitExceeded": (ResourceExhausted, "RATE_LIMITED"),
    "ExchangeNotAvailable": (Unavailable, "EXCHANGE_UNAVAILABLE"),
    "OnMaintenance": (Unavailable, "EXCHANGE_UNAVAILABLE"),
    "InvalidNonce": (Unavailable, "CLOCK_SKEW"),
    "ChecksumError": (Unavailable, "EXCHANGE_BAD_RESPONSE"),
    "RequestTimeout": (DeadlineExceeded, "EXCHANGE_TIMEOUT"),
    "BadResponse": (Unavailable, "EXCHANGE_BAD_RESPONSE"),
    "NullResponse": (Unavailable, "EXCHANGE_BAD_RESPONSE"),
    "CancelPending": (FailedPrecondition, "CANCEL_PENDING"),
    "UnsubscribeError": (FailedPrecondition, "EXCHANGE_ERROR"),
}


def test_the_table_above_names_every_error_of_ccxt() -> None:
    theirs = {name for name, value in vars(ccxt_errors).items() if isinstance(value, type)}
    assert theirs == EXPECTED.keys()


def test_the_asynchronous_ccxt_raises_the_same_classes() -> None:
    for name in EXPECTED:
        assert getattr(ccxt.async_support, name) is getattr(ccxt_errors, name)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_error_of_ccxt_becomes_its_row_of_the_table(name: str) -> None:
    translated = translate("binance", getattr(ccxt_errors, name)("text"))
    assert (type(translated), translated.reason) == EXPECTED[name]
    assert "binance" in translated.message
    assert translated.message.endswith(".")
    assert translated.metadata == {"exchange": "binance", "ccxt_error": name}


@pytest.mark.parametrize("name", EXPECTED)
def test_no_text_of_the_exchange_passes_the_boundary(name: str) -> None:
    signature = secrets.token_hex()
    text = f"binance GET https://api.invalid/account?signature={signature} 418 I'm a teapot"
    with pytest.raises(KeybridgeError) as caught, exchange_errors("binance"):
        raise getattr(ccxt_errors, name)(text)
    error = caught.value
    shown = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    assert not [line for line in shown if signature in line]
    assert error.__cause__ is None


def test_an_error_that_a_later_ccxt_adds_falls_to_its_family() -> None:
    class SomethingNew(ccxt_errors.InsufficientFunds):  # type: ignore[misc] # ccxt ships no types
        pass

    assert translate("kraken", SomethingNew("text")).reason == "INSUFFICIENT_FUNDS"


@pytest.mark.parametrize("name", ["RateLimitExceeded", "DDoSProtection"])
def test_a_rate_limited_caller_is_told_when_to_come_again(name: str) -> None:
    error = getattr(ccxt_errors, name)("text")
    assert translate("okx", error).retry_after == DEFAULT_RETRY_AFTER
    assert translate("okx", error, retry_after=timedelta(minutes=2)).retry_after == timedelta(minutes=2)


def test_what_the_exchange_said_about_coming_again_is_asked_for_at_the_boundary() -> None:
    said: list[BaseException] = []

    def retry_after(error: ccxt_errors.BaseError) -> timedelta:
        said.append(error)
        return timedelta(seconds=90)

    error = ccxt_errors.OnMaintenance("text")
    with pytest.raises(Unavailable) as caught, exchange_errors("okx", retry_after=retry_after):
        raise error
    assert caught.value.retry_after == timedelta(seconds=90)
    assert said == [error]


async def test_a_time_out_of_our_own_is_a_late_exchange() -> None:
    with pytest.raises(DeadlineExceeded) as caught, exchange_errors("gate"):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert caught.value.reason == "EXCHANGE_TIMEOUT"
    assert "gate" in caught.value.message


@pytest.mark.parametrize("error", [KeyError("x"), asyncio.CancelledError(), NotFound("No such connector.")])
def test_what_is_not_ccxts_passes_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, exchange_errors("gate"):
        raise error
    assert caught.value is error


def test_what_succeeds_is_left_alone() -> None:
    with exchange_errors("gate"):
        answer = 42
    assert answer == 42
