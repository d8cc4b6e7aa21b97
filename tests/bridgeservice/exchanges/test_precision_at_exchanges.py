"""What the bridge takes as the numbers of an order, every simulated exchange takes too, to the last digit."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bridgeservice.enums import OrderSide, OrderType
from bridgeservice.exchanges.exchange import Market
from bridgeservice.exchanges.orders import ExchangeOrder, Refusal, Ticket
from bridgeservice.precision import check
from servicekit.errors import InvalidArgument
from tests.simulator.accounts import Order
from tests.simulator.simulator import EXCHANGES
from tests.support.desk import Desk, trading

PLENTY = "1" + "0" * 40


@dataclass(slots=True)
class Floor:
    """An exchange that goes on from one example to the next, with an account that can pay for everything."""

    desk: Desk
    runner: asyncio.Runner
    markets: Mapping[str, Market]
    taken: int = 0

    @property
    def exchange_id(self) -> str:
        return self.desk.exchange.id

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """Of the markets that can be traded on, by symbol."""
        return self.desk.simulator.venues[self.exchange_id].prices

    def place(self, ticket: Ticket) -> tuple[ExchangeOrder | Refusal, list[Order]]:
        """What became of it, and what stands on the book since then."""
        before = len(self.desk.book)
        # Hypothesis has random numbers begin anew with each example, and so would the ids that ccxt makes up.
        named = replace(ticket, client_order_id=self.desk.client_id())
        answer = self.runner.run(self.desk.session.place(named))
        return answer, self.desk.book[before:]


@pytest.fixture(scope="module", params=EXCHANGES)
def floor(request: pytest.FixtureRequest) -> Iterator[Floor]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        desk = runner.run(stack.enter_async_context(trading(request.param)))
        account = desk.simulator.account(desk.keys)
        for asset in desk.simulator.venues[request.param].assets:
            account.holding(asset).free = Decimal(PLENTY)
        floor = Floor(desk, runner, runner.run(desk.exchange.markets()))
        yield floor
        runner.run(stack.aclose())
    assert floor.taken > 50, f"only {floor.taken} examples were orders that the bridge takes"


def numbers(data: some.DataObject, step: str, *bounds: str, about: Decimal) -> str:
    """A number on the market's steps or beside them, often at one of its bounds."""
    one = Decimal(step)
    edges = [Decimal(bound) for bound in bounds if bound]
    on_steps = some.integers(1, 10**7).map(lambda count: count * one)
    at_edges = some.sampled_from([edge + more * one for edge in edges or [one] for more in (-1, 0, 1)])
    usual = some.integers(1, 3000).map(lambda share: (about * share / 1000).quantize(one))
    beside = some.decimals(min_value="0", max_value=10 * about, places=12)
    is_usual = data.draw(some.integers(1, 4)) > 1
    drawn = data.draw(usual if is_usual else some.one_of(on_steps, at_edges, beside))
    return format(drawn, "f") + data.draw(some.sampled_from(["", "", "0"])) * ("." in format(drawn, "f"))


def ticket(data: some.DataObject, floor: Floor) -> Ticket:
    symbol = data.draw(some.sampled_from(sorted(floor.prices)))
    market, price = floor.markets[symbol], floor.prices[symbol]
    amount = numbers(data, market.amount_step, market.min_amount, market.max_amount, about=1000 / price)
    side = data.draw(some.sampled_from(OrderSide))
    if data.draw(some.integers(1, 3)) == 1:
        return Ticket(symbol, side, OrderType.MARKET, amount)
    limit = numbers(data, market.price_step, market.min_price, market.max_price, about=price)
    return Ticket(symbol, side, OrderType.LIMIT, amount, limit)


def is_worth_too_little_or_too_much(ticket: Ticket, market: Market, price: Decimal) -> bool:
    """Of a market order, which nobody can tell before it meets a price."""
    cost = Decimal(ticket.amount) * price * Decimal(market.contract_size or 1)
    return not Decimal(market.min_cost or 0) * 2 < cost < Decimal(market.max_cost or "Infinity") / 2


@settings(max_examples=300, deadline=None)
@given(some.data())
def test_what_the_bridge_takes_the_exchange_takes_as_it_is(floor: Floor, data: some.DataObject) -> None:
    order = ticket(data, floor)
    market = floor.markets[order.symbol]
    try:
        amount, price = check(order, market)
    except InvalidArgument:
        return
    if price is None and is_worth_too_little_or_too_much(order, market, floor.prices[order.symbol]):
        return
    floor.taken += 1

    answer, added = floor.place(order)

    if price is None and order.side is OrderSide.BUY and floor.exchange_id == "gate":
        assert isinstance(answer, Refusal)
        assert (answer.error.reason, added) == ("NOT_SUPPORTED", [])
        return
    assert isinstance(answer, ExchangeOrder), answer.error
    [placed] = added
    assert (placed.id, placed.side) == (answer.id, order.side.value)
    assert (placed.amount, placed.price) == (amount, price)
