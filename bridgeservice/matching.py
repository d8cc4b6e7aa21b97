"""Which of an exchange's orders is ours, where it can't be asked by an id of ours.

Orders that are alike in all that an exchange tells are interchangeable: where as many are there as we have sent, each
is one of ours, and in which order they are told apart makes no difference to anybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Final
from uuid import UUID

from bridgeservice.exchanges.orders import ExchangeOrder
from bridgeservice.order_records import Order, Twin

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By how much an exchange's clock may be behind or ahead of ours."""


@dataclass(frozen=True, slots=True)
class Match:
    """The order, or that there is none, as far as that is certain."""

    found: ExchangeOrder | None = None
    certain: bool = True
    never: bool = False
    """Whether that there is none proves that there never was: the exchange would know it."""


@dataclass(frozen=True, slots=True)
class FromFills(ExchangeOrder):
    """An order of which nothing is told but fills. Its id is empty where not even that is; its time is that of its
    first fill, and it may have been made long before.
    """


def match(
    order: Order, twins: Sequence[Twin], candidates: Sequence[ExchangeOrder], *, longest_sending: timedelta
) -> Match:
    """Ours among the candidates, of which nobody else is known to be one.

    ``twins`` are our orders that look like this one and may be any of them, this one included.
    """
    if order.client_order_id:
        own = [each for each in candidates if each.client_order_id == order.client_order_id]
        if own:
            return Match(own[0])
        # It went with the order, and exchanges that take one tell it of all orders, but not of fills.
        candidates = [each for each in candidates if isinstance(each, FromFills)]
    alike = [each for each in candidates if looks_like(order, each)]
    ours, theirs = _related(order, twins, [each for each in alike if each.id], longest_sending)
    pairs = _paired(ours, theirs, longest_sending)
    if len(theirs) > len(pairs):
        return Match(certain=False)  # somebody else makes such orders too
    if theirs and len(pairs) < len(ours) and not all(twin.overdue for twin in ours):
        return Match(certain=False)  # some of ours are not there yet, and it is not known which
    if found := pairs.get(order.id):
        return Match(found)
    earliest, _ = span(order.created_at, longest_sending)
    is_told_of = any(isinstance(each, FromFills) and _is_after(each, earliest) for each in alike)
    return Match(certain=not is_told_of)  # it may have been filled later than it was made


def looks_like(order: Order, other: ExchangeOrder) -> bool:
    """Whether nothing that the exchange tells of the other one but its time speaks against its being this one."""
    if (other.symbol, other.side) != (order.symbol, order.side):
        return False
    if other.type not in (None, order.type):
        return False
    if other.amount and Decimal(other.amount) != order.amount:
        return False
    if other.filled and Decimal(other.filled) > order.amount:
        return False
    return order.price is None or not other.price or Decimal(other.price) == order.price


def span(created_at: datetime, longest_sending: timedelta) -> tuple[datetime, datetime]:
    """When an order can have been made by its exchange's clock."""
    return created_at - CLOCKS_DIFFER, created_at + longest_sending + CLOCKS_DIFFER


def _related(
    order: Order, twins: Sequence[Twin], alike: Sequence[ExchangeOrder], longest_sending: timedelta
) -> tuple[list[Twin], list[ExchangeOrder]]:
    """Those of which one may be the order, the twins that may be one of these, and so on: whoever decides on one of
    them has to decide on all of them. Each by time.
    """
    ours = [twin for twin in twins if twin.id == order.id]
    theirs: list[ExchangeOrder] = []
    while True:
        near = [each for each in alike if any(_can_be(twin, each, longest_sending) for twin in ours)]
        kin = [
            twin
            for twin in twins
            if twin in ours or any(_can_be(twin, each, longest_sending) for each in near)
        ]
        if len(near) == len(theirs) and len(kin) == len(ours):
            break
        ours, theirs = kin, near
    ours.sort(key=attrgetter("created_at", "id"))
    theirs.sort(key=lambda each: (each.time or order.created_at, each.id))
    return ours, theirs


def _paired(
    ours: Sequence[Twin], theirs: Sequence[ExchangeOrder], longest_sending: timedelta
) -> dict[UUID, ExchangeOrder]:
    """Each of theirs with the first of ours that it can be. All spans are equally long, so no other way pairs more."""
    pairs: dict[UUID, ExchangeOrder] = {}
    for each in theirs:
        free = (twin.id for twin in ours if twin.id not in pairs and _can_be(twin, each, longest_sending))
        if (first := next(free, None)) is not None:
            pairs[first] = each
    return pairs


def _is_after(other: ExchangeOrder, earliest: datetime) -> bool:
    return other.time is None or other.time >= earliest


def _can_be(twin: Twin, other: ExchangeOrder, longest_sending: timedelta) -> bool:
    earliest, latest = span(twin.created_at, longest_sending)
    return other.time is None or earliest <= other.time <= latest
