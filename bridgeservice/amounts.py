"""How amounts are written here, ``-12.50``, with the digits that were given; no exponent, and no sign on a zero. And
how one calculates with them: every digit stays.
"""

import re
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final

EXACT: Final = Context(prec=400, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])
"""More digits than checked amounts can ever come to; should they all the same, that raises and rounds nothing."""

GIVEN: Final = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")
"""An amount as callers and settings give it."""

LONGEST_GIVEN: Final = 30 + len(".") + 30

_PLAIN = re.compile(r"(?!-0+(\.0+)?\Z)-?\d+(\.\d+)?\Z", re.ASCII)


def is_plain(text: str) -> bool:
    """Whether an amount is written so already."""
    return _PLAIN.match(text) is not None


def plain(amount: Decimal | None) -> str:
    """An amount as it is written; empty where it is not known."""
    return "" if amount is None else format(amount, "f")
