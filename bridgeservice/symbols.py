"""How markets are named, ``BTC/USDT``, and what to say to one who names them otherwise."""

import difflib
import re
from collections.abc import Collection, Mapping
from itertools import zip_longest

from bridgeservice.exchanges.exchange import Market
from servicekit.errors import InvalidArgument, Violation
from servicekit.validation import ended

UNKNOWN = "UNKNOWN_SYMBOL"
LONGEST = 64

_DASHED = re.compile(r"([A-Za-z0-9.]+)[-_]([A-Za-z0-9.]+)")
_NEAREST = 3
# For so many unknown symbols of a request the nearest ones are looked for, which takes milliseconds each.
_MOST_SUGGESTED = 5


def misspelt(symbol: str) -> str | None:
    """How ``BTC-USDT`` and ``btc_usdt`` are written here; None for what may be right."""
    found = _DASHED.fullmatch(symbol)
    return f"{found[1]}/{found[2]}".upper() if found else None


def require(field: str, symbols: Collection[str], markets: Mapping[str, Market], exchange: str) -> None:
    """Refuse symbols that the exchange does not have, each with those that it may have been meant for."""
    unknown = [symbol for symbol in symbols if symbol not in markets]
    if not unknown:
        return
    plain = {known: _plain(known) for known in markets}
    suggestions = [_suggestion(symbol, plain) for symbol in unknown[:_MOST_SUGGESTED]]
    complaints = [
        f"{symbol} is no market of {exchange}{suggestion}"
        for symbol, suggestion in zip_longest(unknown, suggestions, fillvalue="")
    ]
    raise InvalidArgument(
        ended(complaints[0]),
        violations=[Violation(field, complaint) for complaint in complaints],
        reason=UNKNOWN,
        metadata={"exchange": exchange},
    )


def nearest(symbol: str, markets: Mapping[str, str]) -> list[str]:
    """At most three markets that look like ``symbol``: written otherwise, or of the same base, or alike.

    Each of the markets is given with how it is written plainly.
    """
    wanted = _plain(symbol)
    base = re.split(r"[^A-Z0-9.]", symbol.upper())[0]
    same, of_base, begun = [], [], []
    for known, plain in markets.items():
        if plain == wanted:
            same.append(known)
        elif known.startswith(f"{base}/"):
            of_base.append(known)
        elif known[:1] == base[:1]:
            begun.append(known)
    alike = difflib.get_close_matches(symbol.upper(), begun, n=_NEAREST) if not same else []
    by_likeness = sorted(of_base, key=lambda known: (-_likeness(symbol.upper(), known), known))
    return [*same, *by_likeness, *alike][:_NEAREST]


def _suggestion(symbol: str, markets: Mapping[str, str]) -> str:
    found = nearest(symbol, markets)
    return f"; did you mean {' or '.join(found)}?" if found else "; ListMarkets names all"


def _plain(symbol: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
