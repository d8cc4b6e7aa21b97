"""Orders that are looked for among what an exchange lists, where it can't be asked for them by an id of ours."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bridgeservice import search
from bridgeservice.enums import OrderSide
from bridgeservice.v1.order_pb2 import ORDER_TYPE_MARKET
from servicekit.errors import FailedPrecondition
from tests.support.fake_orders import Fault
from tests.support.orders import limit
from tests.support.probe import eventually
from tests.support.trading import LONG_AFTER, Trader, state, unknown


@pytest.fixture
async def nameless(trader: Trader) -> Trader:
    """On an exchange that takes no client order ids, so that orders are found by what they look like."""
    trader.book.takes_client_ids = False
    return trader


@pytest.fixture
async def listed(trader: Trader) -> Trader:
    """On one that takes them, and can't be asked by them."""
    trader.book.tells_by_client_id = False
    return trader


class TestByItsLooks:
    """It is looked for among what is open and was filled."""

    async def test_the_one_order_that_looks_like_it_is_it(self, nameless: Trader) -> None:
        for other in (
            limit(OrderSide.SELL, "0.50", "100.10"),
            limit(OrderSide.BUY, "0.51", "100.10"),
            limit(OrderSide.BUY, "0.50", "100.11"),
            limit(OrderSide.BUY, "0.50", "100.10", "ETH/USDT"),
        ):
            nameless.book.add(other)
        order = await unknown(nameless)
        found = await nameless.look(order)
        assert (state(found), found.exchange_order_id) == ("OPEN", "5")

    async def test_one_that_was_filled_meanwhile_is_found_by_its_fills(self, nameless: Trader) -> None:
        nameless.book.fills_at_once = True
        order = await unknown(nameless, type=ORDER_TYPE_MARKET, price="")
        found = await nameless.look(order)
        assert (state(found), found.exchange_order_id, found.filled) == ("FILLED", "1", "0.50")

    async def test_an_order_that_the_journal_knows_is_not_taken_for_another(self, nameless: Trader) -> None:
        first = await nameless.place()
        second = await unknown(nameless, Fault.BEFORE)
        assert state(await nameless.look(second)) == "UNKNOWN"
        assert (await nameless.get(first)).exchange_order_id == "1"

    async def test_one_that_was_made_at_another_time_is_not_it(self, nameless: Trader) -> None:
        placed = nameless.book.add(limit(OrderSide.BUY, "0.50", "100.10"))
        assert placed.time is not None
        object.__setattr__(placed, "time", placed.time - timedelta(minutes=10))
        order = await unknown(nameless, Fault.BEFORE)
        assert state(await nameless.look(order)) == "UNKNOWN"

    async def test_several_that_look_like_one_leave_it_open(self, nameless: Trader) -> None:
        nameless.book.add(limit(OrderSide.BUY, "0.50", "100.10"))
        order = await unknown(nameless)
        found = await nameless.look(order)
        assert (state(found), found.reason) == ("UNKNOWN", "AMBIGUOUS")

    async def test_as_many_as_were_sent_are_told_apart(self, nameless: Trader) -> None:
        orders = [await unknown(nameless) for _ in range(3)]
        ids = {(await nameless.look(order)).exchange_order_id for order in reversed(orders)}
        assert ids == {"1", "2", "3"}
        assert nameless.sent == 3

    async def test_fewer_than_were_sent_are_told_apart_only_when_no_more_can_come(
        self, nameless: Trader
    ) -> None:
        orders = [await unknown(nameless, Fault.AFTER), await unknown(nameless, Fault.BEFORE)]
        assert [(await nameless.look(order)).reason for order in orders] == ["AMBIGUOUS"] * 2
        placed = nameless.book.placed["1"]
        assert placed.time is not None
        object.__setattr__(placed, "time", placed.time - timedelta(minutes=10))
        for order in orders:
            await nameless.pass_time(order, "10 minutes")
        ended = [await nameless.look(order) for order in orders]
        assert (state(ended[0]), ended[0].exchange_order_id) == ("OPEN", "1")
        for _ in range(2):
            await nameless.look(orders[1])
        assert (await nameless.get(orders[1])).reason == "NEVER_SEEN"
        assert len(nameless.book.placed) == 1

    async def test_where_no_order_can_be_asked_for_what_was_filled_whole_is_found_by_its_fills(
        self, nameless: Trader
    ) -> None:
        nameless.book.tells_single_orders = False
        order = await unknown(nameless)
        nameless.book.fill("1")
        found = await nameless.look(order)
        assert (state(found), found.exchange_order_id, found.filled) == ("FILLED", "1", "0.50")

    async def test_and_of_what_was_filled_in_part_it_is_not_known_whether_the_rest_is_over(
        self, nameless: Trader
    ) -> None:
        nameless.book.tells_single_orders = False
        order = await unknown(nameless)
        nameless.book.fill_some("1", "0.2")
        nameless.book.end("1")
        for after in ("0", LONG_AFTER, LONG_AFTER, LONG_AFTER):
            found = await nameless.look(order, after=after)
            assert (state(found), found.exchange_order_id, found.filled) == ("UNKNOWN", "1", "0.2")

    async def test_what_was_filled_long_after_it_was_sent_is_not_passed_over(self, nameless: Trader) -> None:
        order = await unknown(nameless)
        nameless.book.clock = lambda: datetime.now(UTC) + timedelta(hours=2)
        nameless.book.fill("1")
        assert state(await nameless.look(order)) == "FILLED"

    async def test_and_where_nobody_tells_when_it_was_made_it_may_be_it(self, nameless: Trader) -> None:
        nameless.book.tells_single_orders = False
        order = await unknown(nameless)
        nameless.book.clock = lambda: datetime.now(UTC) + timedelta(hours=2)
        nameless.book.fill("1")
        assert (await nameless.look(order)).reason == "AMBIGUOUS"

    async def test_of_more_fills_than_are_read_at_once_nothing_is_concluded(
        self, nameless: Trader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "MOST_TRADES", 2)
        monkeypatch.setattr(search, "MOST_PAGES", 3)
        order = await unknown(nameless, Fault.BEFORE)
        sold = [nameless.book.add(limit(OrderSide.SELL, "1", "100")) for _ in range(4)]
        for each in sold[:3]:
            nameless.book.fill(each.id)
        assert (await nameless.look(order)).reason == "EXCHANGE_UNAVAILABLE"
        nameless.book.fill(sold[3].id)
        assert (await nameless.look(order)).reason == "AMBIGUOUS"

    async def test_an_order_that_is_still_being_sent_may_be_the_one_that_is_there(
        self, nameless: Trader
    ) -> None:
        order = await unknown(nameless, Fault.BEFORE)
        nameless.book.fail("place", Fault.HANG)
        sending = asyncio.create_task(nameless.place())
        await eventually(lambda: len(nameless.book.placed) == 1, "it is placed")
        assert (await nameless.look(order)).reason == "AMBIGUOUS"
        nameless.book.gate.set()
        assert (await sending).exchange_order_id == "1"
        assert state(await nameless.look(order)) == "UNKNOWN"


class TestByItsClientOrderIdInLists:
    """The exchange takes client order ids and lists them, and can't be asked for an order by its own."""

    async def test_the_one_that_has_its_id_is_it_whatever_else_looks_like_it(self, listed: Trader) -> None:
        listed.book.add(limit(OrderSide.BUY, "0.50", "100.10"))
        order = await unknown(listed)
        found = await listed.look(order)
        assert (state(found), found.exchange_order_id) == ("OPEN", "2")

    async def test_what_looks_like_it_and_has_another_id_or_none_is_not_it(self, listed: Trader) -> None:
        for client_order_id in ("", "yours"):
            listed.book.add(limit(OrderSide.BUY, "0.50", "100.10", client_order_id=client_order_id))
        order = await unknown(listed, Fault.BEFORE)
        assert state(await listed.look(order)) == "UNKNOWN"

    async def test_a_fill_that_names_no_client_order_id_is_not_passed_over(self, listed: Trader) -> None:
        listed.book.tells_single_orders = False
        order = await unknown(listed)
        listed.book.fill("1")
        found = await listed.look(order)
        assert (state(found), found.exchange_order_id, found.filled) == ("FILLED", "1", "0.50")

    async def test_and_of_several_orders_of_ours_that_it_may_be_it_is_none_before_the_others_are_known(
        self, listed: Trader
    ) -> None:
        listed.book.tells_single_orders = False
        orders = [await unknown(listed), await unknown(listed)]
        listed.book.fill("1")
        assert (await listed.look(orders[0])).reason == "AMBIGUOUS"
        assert (await listed.look(orders[1])).exchange_order_id == "2"
        assert (await listed.look(orders[0])).exchange_order_id == "1"

    async def test_a_fill_at_a_price_that_it_would_not_have_paid_is_not_its(self, listed: Trader) -> None:
        listed.book.tells_single_orders = False
        listed.book.fill(listed.book.add(limit(OrderSide.BUY, "0.50", "100.11")).id)
        order = await unknown(listed, Fault.BEFORE)
        found = await listed.look(order)
        assert (state(found), found.reason) == ("UNKNOWN", "EXCHANGE_UNAVAILABLE")


class TestWhatIsNowhere:
    """Only an exchange that would know an order proves that it was never placed."""

    @pytest.mark.parametrize("takes_client_ids", [True, False])
    async def test_one_that_ended_unfilled_before_anybody_looked_is_not_called_not_placed(
        self, trader: Trader, *, takes_client_ids: bool
    ) -> None:
        trader.book.takes_client_ids = takes_client_ids
        trader.book.tells_by_client_id = False
        order = await unknown(trader)
        trader.book.end("1")
        for _ in range(3):
            found = await trader.look(order, after=LONG_AFTER)
        assert (state(found), found.reason, found.filled) == ("CANCELED", "NEVER_SEEN", "0")
        assert (await trader.row(order))["next_check_at"] is None

    async def test_one_that_somebody_finds_meanwhile_stays_what_it_was_found_to_be(
        self, nameless: Trader
    ) -> None:
        order = await unknown(nameless, Fault.BEFORE)
        for _ in range(2):
            await nameless.look(order, after=LONG_AFTER)
        await nameless.change(order, "next_check_at = now()")
        nameless.book.fail("trades", Fault.HANG)
        await nameless.bridge.resolving.once()
        await eventually(lambda: nameless.book.asked.count("trades") == 3, "it is looked for")
        await nameless.change(order, "state = 'open', exchange_order_id = '77'")
        nameless.book.gate.set()
        await eventually(lambda: not nameless.bridge.resolving.busy, "it was looked for")
        assert state(await nameless.get(order)) == "OPEN"

    async def test_a_fill_of_which_nobody_says_whose_it_is_leaves_it_open(self, nameless: Trader) -> None:
        nameless.book.tells_orders_of_fills = False
        order = await unknown(nameless)
        nameless.book.fill("1")
        for _ in range(4):
            found = await nameless.look(order, after="1 minute")
        assert (state(found), found.reason) == ("UNKNOWN", "AMBIGUOUS")

    async def test_where_nothing_is_told_of_fills_only_an_open_one_is_found(self, nameless: Trader) -> None:
        nameless.book.refusal = FailedPrecondition("It tells of no trades.", reason="NOT_SUPPORTED")
        nameless.book.fail("trades", *[Fault.REFUSE] * 5)
        hidden, shown = await unknown(nameless, Fault.BEFORE, amount="7"), await unknown(nameless)
        assert (await nameless.look(shown)).exchange_order_id == "1"
        for _ in range(4):
            found = await nameless.look(hidden, after=LONG_AFTER)
        assert (state(found), found.reason) == ("UNKNOWN", "AMBIGUOUS")
