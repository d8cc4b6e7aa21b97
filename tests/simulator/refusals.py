"""Why a venue does not do what it is asked for; each exchange has its own words for it."""

from enum import Enum, auto


class UnknownMarketError(Exception):
    """There is no such market."""


class UnknownOrderError(Exception):
    """There is no such order, or it can no longer be cancelled."""


class InsufficientFundsError(Exception):
    """The account has not enough for this."""


class DuplicateClientIdError(Exception):
    """There is an order with this client order id, and the exchange wants no other."""


class NothingToReduceError(Exception):
    """An order that may only reduce a position would do something else."""


class Broken(Enum):
    """What an order can fall short of, or go beyond."""

    AMOUNT_STEP = auto()
    LEAST_AMOUNT = auto()
    MOST_AMOUNT = auto()
    PRICE_STEP = auto()
    LEAST_PRICE = auto()
    MOST_PRICE = auto()
    LEAST_COST = auto()
    MOST_COST = auto()


class LimitError(Exception):
    """The order breaks one of a market's limits."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(broken.name)
        self.broken = broken


class WouldMatchError(Exception):
    """An order that may only rest would match at once."""


REFUSALS = (
    DuplicateClientIdError, InsufficientFundsError, LimitError, NothingToReduceError, UnknownMarketError,
    UnknownOrderError, WouldMatchError,
)  # fmt: skip


def cause(error: Exception) -> object:
    """What an exchange's table of words has an entry for: the limit that is broken, or else the error's class."""
    return error.broken if isinstance(error, LimitError) else type(error)
