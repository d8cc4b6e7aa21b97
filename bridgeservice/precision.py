"""Whether a market takes the numbers of an order as they are.

Nothing is ever rounded here: what does not fit is refused, each with the nearest value that would.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext

from bridgeservice.amounts import EXACT, GIVEN, plain
from bridgeservice.enums import OrderType
from bridgeservice.exchanges.exchange import Market
from bridgeservice.exchanges.orders import Ticket
from servicekit.errors import InvalidArgument, Violation


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What a market takes as one number; None where it sets no bound."""

    step: Decimal | None
    least: Decimal | None
    most: Decimal | None

    def violated(self, value: Decimal) -> Iterator[str]:
        """What the value should be and is not."""
        if self.step is not None and value % self.step:
            yield f"should be a multiple of {plain(self.step)}"
        if self.least is not None and value < self.least:
            yield f"should be at least {plain(self.least)}"
        if self.most is not None and value > self.most:
            yield f"should be at most {plain(self.most)}"

    def nearest(self, value: Decimal) -> Decimal | None:
        """The value next to this one that is within them all, if there is any; nothing is none."""
        if self.step is None:
            found = value if self.least is None else max(value, self.least)
            found = found if self.most is None else min(found, self.most)
        else:
            steps = value // self.step
            if 2 * (value - steps * self.step) > self.step:
                steps += 1
            steps = max(steps, _steps_to(self.least, self.step), Decimal(1))
            if self.most is not None:
                steps = min(steps, self.most // self.step)
            found = steps * self.step
        return None if found == 0 or any(self.violated(found)) else found


def _steps_to(bound: Decimal | None, step: Decimal) -> Decimal:
    """How many steps it takes to be no less than the bound."""
    steps, rest = divmod(bound or Decimal(0), step)
    return steps + 1 if rest else steps


def check(ticket: Ticket, market: Market) -> tuple[Decimal, Decimal | None]:
    """The amount and the limit as numbers; refused unless the market takes them as they are."""
    violations: list[Violation] = []
    with localcontext(EXACT):
        amount = _number("amount", ticket.amount, violations)
        price = None
        if ticket.type is OrderType.LIMIT:
            price = _number("price", ticket.price, violations)
        elif ticket.price:
            violations.append(Violation("price", "is for limit orders only; a market order has none"))
        amounts = _bounds(market.amount_step, market.min_amount, market.max_amount)
        prices = _bounds(market.price_step, market.min_price, market.max_price)
        if amount is not None:
            violations += _told("amount", amount, amounts)
        if price is not None:
            told = _told("price", price, prices)
            violations += told
            if amount is not None and not told:
                violations += _cost(amount, price, market, amounts)
    if violations or amount is None:
        raise InvalidArgument(_sentence(market, violations), violations=violations, reason="INVALID_ORDER")
    return amount, price


def _number(field: str, text: str, violations: list[Violation]) -> Decimal | None:
    value = Decimal(text) if GIVEN.fullmatch(text) else None
    if value is None or value == 0:
        violations.append(Violation(field, "should be a positive decimal number, such as 0.5"))
        return None
    return value


def _bounds(step: str, least: str, most: str) -> _Bounds:
    return _Bounds(*(Decimal(each) if each else None for each in (step, least, most)))


def _told(field: str, value: Decimal, bounds: _Bounds) -> list[Violation]:
    nearest = bounds.nearest(value)
    hint = "" if nearest is None else f"; the nearest valid value is {plain(nearest)}"
    return [Violation(field, f"{broken}{hint}") for broken in bounds.violated(value)]


def _cost(amount: Decimal, price: Decimal, market: Market, amounts: _Bounds) -> list[Violation]:
    """Whether an order is worth enough, and not too much."""
    unit = price * Decimal(market.contract_size or 1)
    if market.settle and market.settle == market.base:
        return []  # worth its contracts, whatever the price
    bounds = _bounds("", market.min_cost, market.max_cost)
    cost = amount * unit
    broken = list(bounds.violated(cost))
    if not broken or amounts.step is None:
        return [Violation("amount", f"is worth {plain(cost)}, which {each}") for each in broken]
    one = unit * amounts.step
    least = _steps_to(bounds.least, one) * amounts.step
    most = None if bounds.most is None else bounds.most // one * amounts.step
    narrower = _Bounds(
        amounts.step,
        least if amounts.least is None else max(least, amounts.least),
        min((each for each in (most, amounts.most) if each is not None), default=None),
    )
    nearest = narrower.nearest(amount)
    hint = "" if nearest is None else f"; the nearest valid amount at this price is {plain(nearest)}"
    return [Violation("amount", f"is worth {plain(cost)}, which {each}{hint}") for each in broken]


def _sentence(market: Market, violations: list[Violation]) -> str:
    told = "; ".join(f"{each.field} {each.description}" for each in violations)
    return f"{market.symbol} does not take this order: {told}."
