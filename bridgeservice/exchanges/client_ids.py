"""Client order ids: the form that each exchange takes, and how an order can be asked for by its own.

Only what is known to be taken is in the table. Elsewhere an order goes without one and is found by what else it says.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from uuid import UUID

from bridgeservice.exchanges.families import of_family


class Way(Enum):
    """How ccxt asks for an order by its client order id."""

    PARAMETER = auto()
    """In a parameter beside an id that is left out."""
    AS_ID = auto()
    """In the place of the id."""
    LISTS = auto()
    """By a filter on the open and on the closed orders: there is no question for one order."""
    NONE = auto()
    """Not at all; the id is in what is listed."""


@dataclass(frozen=True, slots=True)
class ClientIds:
    """What one exchange does with client order ids."""

    form: Callable[[UUID], str]
    way: Way
    remembered: timedelta = timedelta(0)
    """How long after its end an order is found by it at least. An order that was sent longer ago, and is not found, may
    be there all the same; so it may anywhere when this is zero.
    """


def _in_base32(order_id: UUID) -> str:
    """All of its bits in 26 characters."""
    return base64.b32encode(order_id.bytes).decode().rstrip("=").lower()


TABLE: Mapping[str, ClientIds] = {
    # Up to 36 characters. Orders that ended unfilled are forgotten after three days on its futures.
    "binance": ClientIds(str, Way.PARAMETER, timedelta(days=3)),
    # Up to 28 characters after the t-, where a UUID has 32; an order is found by it until an hour after its end.
    "gate": ClientIds(lambda order_id: f"t-{_in_base32(order_id)}", Way.AS_ID, timedelta(hours=1)),
    # A UUID as it is. ccxt's fetchOrder sends it under another name, which wants a number.
    "kraken": ClientIds(str, Way.LISTS),
    # Up to 40 characters.
    "kucoin": ClientIds(str, Way.PARAMETER, timedelta(days=3)),
    # Up to 32 letters and digits. An order that ended unfilled is forgotten after two hours.
    "okx": ClientIds(lambda order_id: order_id.hex, Way.PARAMETER, timedelta(hours=2)),
    # Up to 36 characters.
    "bybit": ClientIds(str, Way.NONE),
}


def of(exchange_class: type) -> ClientIds | None:
    """What the exchange of this ccxt class does; None when that is not known."""
    return of_family(TABLE, exchange_class)
