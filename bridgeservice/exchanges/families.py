"""Exchanges that ccxt derives from others: okxus is an okx too, and what is known of one is true of the other."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def of_family(table: Mapping[str, T], exchange_class: type) -> T | None:
    """The entry of an exchange's ccxt class, or else of the nearest one that it is derived from."""
    return next((table[each.__name__] for each in exchange_class.__mro__ if each.__name__ in table), None)
