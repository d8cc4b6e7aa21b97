"""What an error says about an order that was sent: surely not placed, or open.

Only who is sure may call an order rejected. Where nothing says that it wasn't placed it may have been, and the exchange
has to be asked.
"""

from collections.abc import Mapping

from ccxt.base import errors as ccxt

from bridgeservice.exchanges.guarded import SERVER_FAILED

# Whether an order that ended in this error is surely not placed. An error takes the line of its nearest ancestor, as
# in ``errors.TABLE``, so a class that a later ccxt adds falls to its family's.
SURELY_NOT_PLACED: Mapping[type[Exception], bool] = {
    # Who asks is examined before what he asks for.
    ccxt.AuthenticationError: True,
    ccxt.InvalidNonce: True,
    # So is how often.
    ccxt.RateLimitExceeded: True,
    ccxt.DDoSProtection: True,
    # The exchange, or ccxt before it sends anything, names what is wrong with the order or the account.
    ccxt.InvalidOrder: True,
    ccxt.InsufficientFunds: True,
    ccxt.BadRequest: True,
    ccxt.ArgumentsRequired: True,
    ccxt.NotSupported: True,
    ccxt.OperationRejected: True,
    # An order of this name is there, and it may be this one: a proxy or a lost answer can have doubled the request.
    ccxt.DuplicateOrderId: False,
    # Nobody says this of an order that is refused, so that it is not clear what is meant.
    ccxt.OrderNotFound: False,
    ccxt.OrderNotCached: False,
    ccxt.NoChange: False,
    # A time-out, a lost connection, maintenance: the request may have arrived, and an order may be placed before the
    # answer to it fails.
    ccxt.NetworkError: False,
    # An answer that cannot be read, or that says that the exchange itself lost its way.
    ccxt.OperationFailed: False,
    ccxt.ChecksumError: False,
    # Words that ccxt does not know.
    ccxt.BaseError: False,
}


def surely_not_placed(error: ccxt.BaseError, status: int) -> bool:
    """Whether this error, in an answer with this HTTP status, can only be of an order that is not placed."""
    if status >= SERVER_FAILED:
        return False  # whatever the text says: a server that fails may do so after it acted
    return next(
        SURELY_NOT_PLACED[ancestor] for ancestor in type(error).__mro__ if ancestor in SURELY_NOT_PLACED
    )
