"""Only an order that is surely not placed is called refused: by a table, and over the simulator's faults."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import ccxt.async_support as ccxt
import pytest

from bridgeservice.enums import OrderSide, OrderState
from bridgeservice.exchanges.certainty import SURELY_NOT_PLACED, surely_not_placed
from bridgeservice.exchanges.errors import TABLE
from bridgeservice.exchanges.guarded import Attempt
from servicekit.errors import KeybridgeError
from tests.simulator.accounts import new_keys
from tests.simulator.faults import ORDERS, FaultKind
from tests.simulator.simulator import EXCHANGES
from tests.support.desk import Desk, trading
from tests.support.exchanges import OWNER, QUICK, credentials
from tests.support.orders import accepted, limit, refused

TICKET = limit(OrderSide.BUY, "0.02", "50000")

every_exchange = pytest.mark.parametrize("exchange_id", EXCHANGES)


async def raised(desk: Desk) -> str:
    """Why nobody knows what became of the order."""
    with pytest.raises(KeybridgeError) as caught:
        await desk.session.place(TICKET)
    return caught.value.reason


class TestTheTable:
    def test_it_says_something_of_every_error_that_ccxt_has(self) -> None:
        def below(error: type[Exception]) -> set[type[Exception]]:
            return {error}.union(*(below(each) for each in error.__subclasses__()))

        for error in below(ccxt.BaseError):
            assert isinstance(surely_not_placed(error("said"), 200), bool)
        assert ccxt.BaseError in SURELY_NOT_PLACED

    @pytest.mark.parametrize("error", TABLE)
    def test_nothing_is_sure_when_the_server_itself_failed(self, error: type[Exception]) -> None:
        assert not surely_not_placed(error("said"), 500)
        assert not surely_not_placed(error("said"), 503)

    @pytest.mark.parametrize(
        ("error", "sure"),
        [
            (ccxt.InsufficientFunds, True),
            (ccxt.OrderImmediatelyFillable, True),
            (ccxt.BadSymbol, True),
            (ccxt.PermissionDenied, True),
            (ccxt.InvalidNonce, True),
            (ccxt.RateLimitExceeded, True),
            (ccxt.DDoSProtection, True),
            (ccxt.MarketClosed, True),
            (ccxt.ExchangeError, False),
            (ccxt.DuplicateOrderId, False),
            (ccxt.OrderNotFound, False),
            (ccxt.RequestTimeout, False),
            (ccxt.ExchangeNotAvailable, False),
            (ccxt.OnMaintenance, False),
            (ccxt.BadResponse, False),
            (ccxt.NullResponse, False),
        ],
    )
    def test_what_is_refused_and_what_is_open(self, error: type[Exception], sure: bool) -> None:
        assert surely_not_placed(error("said"), 200) is sure


class TestSurelyNotPlaced:
    @pytest.mark.parametrize("kind", [FaultKind.RATE_LIMITED, FaultKind.BANNED, FaultKind.REFUSE])
    @every_exchange
    async def test_when_the_exchange_says_so(self, exchange_id: str, kind: FaultKind) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.simulator.faults[exchange_id].add(kind, path=ORDERS[exchange_id], seconds=1)
            error = refused(await desk.session.place(TICKET))
            assert error.reason == ("INSUFFICIENT_FUNDS" if kind is FaultKind.REFUSE else "RATE_LIMITED")
            assert desk.book == []

    @every_exchange
    async def test_when_nobody_can_be_connected_to(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            await desk.simulator.stop()
            with contextlib.suppress(KeybridgeError):
                await desk.session.place(TICKET)  # through a connection that was open, and is not: who knows
            assert refused(await desk.session.place(TICKET)).reason == "EXCHANGE_UNAVAILABLE"

    async def test_when_it_would_have_been_sent_too_late_or_too_often(self) -> None:
        async with trading("okx", options=QUICK) as desk:
            await desk.session.balances()
            (await desk.exchange.loaded()).template.line.throttle.cool_down(timedelta(seconds=30))
            desk.simulator.seen.clear()
            assert refused(await desk.session.place(TICKET)).reason == "RATE_LIMITED"
            assert desk.simulator.seen.count("okx") == 0

    async def test_when_the_breaker_is_open(self) -> None:
        async with trading("okx") as desk:
            await desk.session.balances()
            breaker = (await desk.exchange.loaded()).template.line.breaker
            for _ in range(QUICK.breaker_failures):
                breaker.failed()
            desk.simulator.seen.clear()
            assert refused(await desk.session.place(TICKET)).reason == "EXCHANGE_UNAVAILABLE"
            assert desk.simulator.seen.count("okx") == 0

    @every_exchange
    async def test_when_the_credentials_are_refused(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            session = desk.exchange.session(credentials(new_keys(exchange_id)), OWNER)
            assert refused(await session.place(TICKET)).reason == "CREDENTIALS_REJECTED"

    async def test_when_what_has_to_be_known_first_could_not_be_asked(self) -> None:
        async with trading("gate") as desk:
            await desk.exchange.markets()
            desk.simulator.faults["gate"].add(FaultKind.DROP, path="/account/detail")
            assert refused(await desk.session.place(TICKET)).reason == "EXCHANGE_UNAVAILABLE"
            assert desk.simulator.seen.count("gate", "/orders") == 0

    async def test_what_others_send_meanwhile_does_not_make_it_uncertain(self) -> None:
        async with trading("okx") as desk:
            await desk.session.balances()
            desk.simulator.faults["okx"].add(FaultKind.HOLD, path="/balance", times=1)
            reading = asyncio.ensure_future(desk.session.balances())
            await desk.simulator.seen.until(2, "okx", "/balance")
            (await desk.exchange.loaded()).template.line.throttle.cool_down(timedelta(seconds=30))
            assert refused(await desk.session.place(TICKET)).reason == "RATE_LIMITED"
            desk.simulator.faults["okx"].clear()
            await reading


class TestOpen:
    @pytest.mark.parametrize(
        "kind", [FaultKind.DROP_AFTER_ACTING, FaultKind.FAIL_AFTER_ACTING, FaultKind.TRUNCATED]
    )
    @every_exchange
    async def test_when_the_answer_to_an_order_that_is_placed_is_lost(
        self, exchange_id: str, kind: FaultKind
    ) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.simulator.faults[exchange_id].add(kind, path=ORDERS[exchange_id], times=1)

            assert await raised(desk) in ("EXCHANGE_UNAVAILABLE", "EXCHANGE_BAD_RESPONSE")

            assert len(desk.book) == 1
            assert desk.simulator.seen.count(exchange_id, ORDERS[exchange_id], "POST") == 1

    @pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.FAIL, FaultKind.HTML, FaultKind.EMPTY])
    @every_exchange
    async def test_when_nobody_can_tell_whether_it_was_placed(
        self, exchange_id: str, kind: FaultKind
    ) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.simulator.faults[exchange_id].add(kind, path=ORDERS[exchange_id], times=1)
            await raised(desk)
            assert desk.book == []

    @every_exchange
    async def test_when_a_server_fails_in_the_words_of_a_refusal(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            connector = desk.session._connector
            desk.simulator.faults[exchange_id].add(FaultKind.REFUSE, path=ORDERS[exchange_id], times=1)
            heard = type(connector).handle_errors

            def fail(status: int, *rest: Any) -> Any:
                return heard(connector, 500, *rest)

            connector.handle_errors = fail
            assert await raised(desk) == "INSUFFICIENT_FUNDS"

    @every_exchange
    async def test_when_the_exchange_acts_after_the_caller_gave_up(self, exchange_id: str) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            faults = desk.simulator.faults[exchange_id]
            faults.add(FaultKind.HOLD, path=ORDERS[exchange_id], times=1)
            placing = asyncio.ensure_future(desk.session.place(TICKET))
            await desk.simulator.seen.until(1, exchange_id, ORDERS[exchange_id], "POST")
            placing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await placing
            assert desk.book == []
            faults.clear()
            await desk.simulator.settled()
            assert len(desk.book) == 1


class TestClocks:
    @pytest.mark.parametrize("exchange_id", ["binance", "okx", "kucoin"])
    async def test_an_order_that_is_refused_for_its_time_is_sent_again_with_the_right_one(
        self, exchange_id: str
    ) -> None:
        async with trading(exchange_id) as desk:
            await desk.session.balances()
            desk.session._connector.options["timeDifference"] = 3_600_000
            assert accepted(await desk.session.place(TICKET)).state is OrderState.OPEN
            assert len(desk.book) == 1

    async def test_one_that_is_refused_for_its_time_again_is_surely_not_placed(self) -> None:
        async def in_vain() -> None:
            """Stands for a server whose clock jumps."""

        async with trading("binance") as desk:
            await desk.session.balances()
            desk.session._connector.options["timeDifference"] = 3_600_000
            desk.session._connector.load_time_difference = in_vain
            assert refused(await desk.session.place(TICKET)).reason == "CLOCK_SKEW"

    async def test_one_that_is_lost_the_second_time_is_open(self) -> None:
        async with trading("binance") as desk:
            await desk.session.balances()
            connector = desk.session._connector
            connector.options["timeDifference"] = 3_600_000
            asked = connector.load_time_difference

            async def then_lose() -> None:
                await asked()
                desk.simulator.faults["binance"].add(FaultKind.DROP_AFTER_ACTING, path="/order", times=1)

            connector.load_time_difference = then_lose
            assert await raised(desk) == "EXCHANGE_UNAVAILABLE"
            assert len(desk.book) == 1

    async def test_one_whose_second_answer_makes_no_sense_is_open(self) -> None:
        async with trading("binance") as desk:
            await desk.session.balances()
            desk.session._connector.options["timeDifference"] = 3_600_000
            desk.session._connector.parse_order = lambda *_: {}
            assert await raised(desk) == "EXCHANGE_BAD_RESPONSE"
            assert len(desk.book) == 1

    async def test_a_server_that_fails_is_not_asked_again_whatever_it_says_of_the_time(self) -> None:
        asked = []

        async def late(_: object) -> None:
            asked.append(1)
            raise ccxt.InvalidNonce("late")

        async with trading("binance") as desk:
            await desk.session.balances()
            with pytest.raises(KeybridgeError):
                await desk.exchange.call(desk.session._connector, late, Attempt(sent=1, status=503))
            assert len(asked) == 1
