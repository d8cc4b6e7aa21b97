"""How amounts are written here: ``-12.50``, with the digits that were given; no exponent, and no sign on a zero."""

import re

_PLAIN = re.compile(r"(?!-0+(\.0+)?\Z)-?\d+(\.\d+)?\Z", re.ASCII)


def is_plain(text: str) -> bool:
    """Whether an amount is written so already."""
    return _PLAIN.match(text) is not None
