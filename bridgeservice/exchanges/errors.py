"""The boundary at which ccxt's errors become ours: one table, and the context manager that applies it.

An exchange's own text never passes: it may hold a URL with a signature in it. What remains of the ccxt error
is the name of its class, in the metadata.

``ccxt.base.errors`` cannot be had alone: importing it runs ccxt's package, which imports every exchange and
takes half a second or more. So this module is one of those that are imported with ccxt, not at start-up.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from ccxt.base import errors as ccxt

from bridgeservice.exchanges.exchange import NOT_SUPPORTED
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

# A rate-limited caller is always told when to come again, also where the exchange names no time.
DEFAULT_RETRY_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Row:
    """What a class of ccxt errors becomes. ``{exchange}`` in the sentence is filled in."""

    error: type[KeybridgeError]
    reason: str
    sentence: str


# An error takes the row of its nearest ancestor in this table: the most specific one wins, in whatever order
# they stand, and a class that a later ccxt adds falls to its family's.
TABLE: Mapping[type[Exception], Row] = {
    # The credentials
    ccxt.AccountNotEnabled: Row(
        FailedPrecondition,
        "CREDENTIALS_REJECTED",
        "{exchange} says that this kind of account is not enabled for these credentials.",
    ),
    ccxt.PermissionDenied: Row(
        FailedPrecondition,
        "CREDENTIALS_REJECTED",
        "{exchange} does not allow these credentials to do this: check the key's permissions and allow-list.",
    ),
    ccxt.AccountSuspended: Row(
        FailedPrecondition,
        "CREDENTIALS_REJECTED",
        "{exchange} has suspended the account of these credentials.",
    ),
    ccxt.AuthenticationError: Row(
        FailedPrecondition, "CREDENTIALS_REJECTED", "{exchange} refuses these credentials."
    ),
    # The network, and the exchange as a whole
    ccxt.RateLimitExceeded: Row(
        ResourceExhausted, "RATE_LIMITED", "{exchange} is being asked more often than it allows."
    ),
    ccxt.DDoSProtection: Row(
        ResourceExhausted, "RATE_LIMITED", "{exchange} turns requests away to protect itself."
    ),
    ccxt.RequestTimeout: Row(
        DeadlineExceeded,
        "EXCHANGE_TIMEOUT",
        "{exchange} did not answer in time; whether it acted on the request is unknown.",
    ),
    ccxt.ChecksumError: Row(
        Unavailable, "EXCHANGE_BAD_RESPONSE", "The data that {exchange} sent do not match their checksum."
    ),
    ccxt.InvalidNonce: Row(
        Unavailable,
        "CLOCK_SKEW",
        "{exchange} refuses the time or the nonce of the request: the clocks differ.",
    ),
    ccxt.OnMaintenance: Row(Unavailable, "EXCHANGE_UNAVAILABLE", "{exchange} is under maintenance."),
    ccxt.ExchangeClosedByUser: Row(
        Unavailable, "EXCHANGE_UNAVAILABLE", "The connection to {exchange} was being closed; try again."
    ),
    ccxt.NetworkError: Row(Unavailable, "EXCHANGE_UNAVAILABLE", "{exchange} cannot be reached now."),
    ccxt.CancelPending: Row(
        FailedPrecondition, "CANCEL_PENDING", "{exchange} is already cancelling this order."
    ),
    ccxt.OperationFailed: Row(
        Unavailable, "EXCHANGE_BAD_RESPONSE", "{exchange} gave an answer that cannot be understood."
    ),
    # The request
    ccxt.BadSymbol: Row(InvalidArgument, "UNKNOWN_SYMBOL", "{exchange} does not know this symbol."),
    ccxt.BadRequest: Row(InvalidArgument, "BAD_REQUEST", "{exchange} refuses the request as malformed."),
    ccxt.ArgumentsRequired: Row(
        InvalidArgument, "BAD_REQUEST", "{exchange} needs more arguments for this than were given."
    ),
    ccxt.NotSupported: Row(FailedPrecondition, NOT_SUPPORTED, "{exchange} does not offer this."),
    # Orders
    ccxt.InsufficientFunds: Row(
        FailedPrecondition, "INSUFFICIENT_FUNDS", "The account on {exchange} has too little for this."
    ),
    ccxt.OrderNotFound: Row(NotFound, "ORDER_NOT_FOUND", "{exchange} has no such order."),
    ccxt.OrderNotCached: Row(NotFound, "ORDER_NOT_FOUND", "This order of {exchange} is not known here."),
    ccxt.DuplicateOrderId: Row(
        AlreadyExists, "DUPLICATE_ORDER_ID", "{exchange} already has an order with this client order id."
    ),
    ccxt.OrderImmediatelyFillable: Row(
        FailedPrecondition,
        "ORDER_IMMEDIATELY_FILLABLE",
        "{exchange} would fill this order at once, which it asks not to be.",
    ),
    ccxt.OrderNotFillable: Row(
        FailedPrecondition, "ORDER_NOT_FILLABLE", "{exchange} cannot fill this order now, which it asks for."
    ),
    ccxt.ContractUnavailable: Row(
        FailedPrecondition, "CONTRACT_UNAVAILABLE", "{exchange} does not trade this contract now."
    ),
    ccxt.InvalidOrder: Row(
        InvalidArgument,
        "INVALID_ORDER",
        "{exchange} refuses this order: check its amount, price and type against the market's limits.",
    ),
    # Refusals that the caller can tell apart
    ccxt.MarketClosed: Row(FailedPrecondition, "MARKET_CLOSED", "This market of {exchange} is closed now."),
    ccxt.RestrictedLocation: Row(
        FailedPrecondition,
        "RESTRICTED_LOCATION",
        "{exchange} does not offer this in the region of the account or of the bridge.",
    ),
    ccxt.ManualInteractionNeeded: Row(
        FailedPrecondition,
        "EXCHANGE_ERROR",
        "{exchange} wants something confirmed first by the account's owner, on its own site.",
    ),
    ccxt.NoChange: Row(FailedPrecondition, "EXCHANGE_ERROR", "{exchange} says that this is so already."),
    ccxt.InvalidProxySettings: Row(
        FailedPrecondition,
        "EXCHANGE_ERROR",
        "The bridge's proxy settings for {exchange} contradict each other.",
    ),
    # The rest
    ccxt.BaseError: Row(FailedPrecondition, "EXCHANGE_ERROR", "{exchange} refuses the request."),
}


def translate(
    exchange: str, error: ccxt.BaseError, *, retry_after: timedelta | None = None
) -> KeybridgeError:
    """Our error for one of ccxt's. ``retry_after`` is what the exchange said, where it said something."""
    row = next(TABLE[ancestor] for ancestor in type(error).__mro__ if ancestor in TABLE)
    message = row.sentence.format(exchange=exchange)
    metadata = {"exchange": exchange, "ccxt_error": type(error).__name__}
    if issubclass(row.error, InvalidArgument):
        return row.error(message, reason=row.reason, metadata=metadata)
    if issubclass(row.error, ResourceExhausted):
        retry_after = retry_after or DEFAULT_RETRY_AFTER
    return row.error(message, reason=row.reason, metadata=metadata, retry_after=retry_after)


@contextmanager
def exchange_errors(
    exchange: str, *, retry_after: Callable[[ccxt.BaseError], timedelta | None] = lambda _: None
) -> Iterator[None]:
    """The boundary: every call into ccxt is made inside it, and only our errors leave it.

    ``retry_after`` is asked what the exchange said about coming again; that is in its answer's headers, which
    the error does not carry. What is neither ccxt's nor a time-out passes as it is.
    """
    try:
        yield
    except ccxt.BaseError as error:
        # "from None", so that no printed traceback shows the exchange's text as this error's cause.
        raise translate(exchange, error, retry_after=retry_after(error)) from None
    except TimeoutError:
        raise DeadlineExceeded(
            f"{exchange} did not answer in time; whether it acted on the request is unknown.",
            reason="EXCHANGE_TIMEOUT",
            metadata={"exchange": exchange},
        ) from None
