"""Which of an exchange's orders is ours, where it can't be asked by an id of ours.

Orders that are alike in all that an exchange tells are interchangeable: where there are as many there as we have sent,
each is one of ours, and in which order they are told apart makes no difference to anybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Final

from bridgeservice.exchanges.orders import ExchangeOrder
from bridgeservice.order_records import Order, Twin

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By how much an exchange's clock may be behind or ahead of ours."""


@dataclass(frozen=True, slots=True)
class Match:
    """The order, or that there is none, as far as that is certain."""

    found: ExchangeOrder | None = None
    certain: bool = True


def match(
    order: Order, twins: Sequence[Twin], candidates: Sequence[ExchangeOrder], *, longest_sending: timedelta
) -> Match:
    """Ours among the candidates, which nobody else is known to be.

    ``twins`` are our orders that look like this one and may be any of them, this one included.
    """
    if order.client_order_id:
        # It went with the order, and exchanges that take one list it.
        own = [each for each in candidates if each.client_order_id == order.client_order_id]
        return Match(own[0] if own else None)
    alike = [each for each in candidates if looks_like(order, each, longest_sending)]
    if not alike:
        return Match()
    alike.sort(key=lambda each: (each.time or order.created_at, each.id))
    ranked = [twin.id for twin in sorted(twins, key=attrgetter("created_at", "id"))]
    if len(alike) > len(ranked) or order.id not in ranked:
        return Match(certain=False)  # somebody else makes such orders too
    if len(alike) < len(ranked) and not all(twin.overdue for twin in twins):
        return Match(certain=False)  # some of ours are not there yet, and it is not known which
    rank = ranked.index(order.id)
    return Match(alike[rank] if rank < len(alike) else None)


def looks_like(order: Order, other: ExchangeOrder, longest_sending: timedelta) -> bool:
    """Whether nothing that the exchange tells of the other one speaks against its being this one."""
    if (other.symbol, other.side) != (order.symbol, order.side):
        return False
    if other.type not in (None, order.type):
        return False
    if other.amount and Decimal(other.amount) != order.amount:
        return False
    if other.filled and Decimal(other.filled) > order.amount:
        return False
    if order.price is not None and other.price and Decimal(other.price) != order.price:
        return False
    if other.time is None:
        return True
    earliest = order.created_at - CLOCKS_DIFFER
    return earliest <= other.time <= order.created_at + longest_sending + CLOCKS_DIFFER
