"""Five real exchanges' REST APIs, spoken by the real ccxt against the simulator."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import ccxt
import pytest

from bridgeservice.exchanges.ccxt_exchange import CcxtExchange
from bridgeservice.exchanges.exchange import Balance, Environment, Permission
from servicekit.credentials import Credentials
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    KeybridgeError,
    ResourceExhausted,
    Unavailable,
)
from tests.simulator.accounts import Permission as Granted
from tests.simulator.faults import FaultKind
from tests.simulator.simulator import EXCHANGES, Simulator
from tests.support.exchanges import OWNER, QUICK, connected, credentials, session

EVERY_DIGIT = "0.12345678901234567890"

every_exchange = pytest.mark.parametrize("exchange_id", EXCHANGES)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


class TestCredentials:
    @every_exchange
    async def test_right_ones_read_a_balance_to_the_last_digit(
        self, simulator: Simulator, exchange_id: str
    ) -> None:
        async with connected(simulator, exchange_id) as exchange:
            own = session(exchange, simulator, balances={"BTC": EVERY_DIGIT, "USDT": "1000", "ETH": "0"})

            assert await own.balances() == [
                Balance("BTC", EVERY_DIGIT, "0", EVERY_DIGIT),
                Balance("USDT", "1000", "0", "1000"),
            ]

    @every_exchange
    async def test_a_wrong_secret_is_refused_and_so_is_a_revoked_key(
        self, simulator: Simulator, exchange_id: str
    ) -> None:
        async with connected(simulator, exchange_id) as exchange:
            keys = simulator.add_account(exchange_id, balances={"BTC": "1"})
            other = credentials(simulator.add_account(exchange_id))
            wrong = Credentials(api_key=keys.api_key, api_secret=other.api_secret, passphrase=keys.passphrase)
            own = exchange.session(credentials(keys), OWNER)

            with pytest.raises(FailedPrecondition) as refused:
                await exchange.session(wrong, OWNER).balances()
            assert await own.balances() == [Balance("BTC", "1", "0", "1")]
            simulator.revoke(keys)
            with pytest.raises(FailedPrecondition) as revoked:
                await own.balances()

            assert refused.value.reason == revoked.value.reason == "CREDENTIALS_REJECTED"

    @pytest.mark.parametrize("exchange_id", ["okx", "kucoin"])
    async def test_a_wrong_passphrase_is_refused(self, simulator: Simulator, exchange_id: str) -> None:
        async with connected(simulator, exchange_id) as exchange:
            keys = simulator.add_account(exchange_id)
            wrong = Credentials(api_key=keys.api_key, api_secret=keys.secret, passphrase=secrets.token_hex(8))

            with pytest.raises(FailedPrecondition) as refused:
                await exchange.session(wrong, OWNER).balances()

            assert refused.value.reason == "CREDENTIALS_REJECTED"

    @pytest.mark.parametrize(("api_key", "ending"), [("a key", "a!"), ("a\nb", ""), ("ключ", "")])
    async def test_malformed_ones_are_refused_before_anything_is_sent(
        self, simulator: Simulator, api_key: str, ending: str
    ) -> None:
        malformed = Credentials(api_key=api_key, api_secret=secrets.token_hex(2) + ending)
        async with connected(simulator, "kraken") as exchange:
            await exchange.markets()
            sent = simulator.seen.count(exchange.id)

            with pytest.raises(FailedPrecondition) as refused:
                await exchange.session(malformed, OWNER).balances()

            assert refused.value.reason == "CREDENTIALS_REJECTED"
            assert simulator.seen.count(exchange.id) == sent

    async def test_those_on_which_ccxt_stumbles_before_it_sends_are_called_malformed(
        self, simulator: Simulator
    ) -> None:
        def stumble() -> object:
            raise ValueError("non-hexadecimal number found")

        async with connected(simulator, "gate") as exchange:
            own = session(exchange, simulator)
            connector = await own._in_use()
            connector.fetch_balance = stumble

            with pytest.raises(FailedPrecondition) as refused:
                await own.balances()

            assert refused.value.reason == "CREDENTIALS_REJECTED"

    async def test_a_closed_session_has_forgotten_them(self, simulator: Simulator) -> None:
        async with connected(simulator, "gate") as exchange:
            own = session(exchange, simulator)
            await own.balances()
            await own.close()

            with pytest.raises(Unavailable):
                await own.balances()


class TestPermissions:
    @every_exchange
    async def test_are_told_where_the_exchange_can_be_asked(
        self, simulator: Simulator, exchange_id: str
    ) -> None:
        async with connected(simulator, exchange_id) as exchange:
            reader = await session(exchange, simulator, permissions=[Granted.READ]).permissions()
            everything = await session(exchange, simulator, permissions=list(Granted)).permissions()

        assert reader.read is everything.read is Permission.YES
        if exchange_id == "gate":
            assert reader == everything
            assert reader.trade is reader.withdraw is Permission.UNKNOWN
        else:
            assert reader.trade is reader.withdraw is Permission.NO
            assert everything.trade is everything.withdraw is Permission.YES


class TestMarketData:
    @every_exchange
    async def test_reads_like_the_exchange_wrote_it(self, simulator: Simulator, exchange_id: str) -> None:
        async with connected(simulator, exchange_id) as exchange:
            simulator.set_price(exchange_id, "SHARP/USDT", "9.99")
            market = (await exchange.markets())["SHARP/USDT"]
            ticker = await exchange.ticker("SHARP/USDT")
            tickers = await exchange.tickers(["BTC/USDT", "SHARP/USDT"])
            book = await exchange.order_book("SHARP/USDT", 2)
            candles = await exchange.candles("SHARP/USDT", "1m", None, 3)

        assert (market.base, market.quote, market.active) == ("SHARP", "USDT", True)
        assert ticker.last == tickers["SHARP/USDT"].last == "9.99"
        assert list(tickers) == ["BTC/USDT", "SHARP/USDT"]
        assert len(book.bids) == len(book.asks) == 2
        assert candles[0].time < candles[1].time

    async def test_tickers_are_asked_for_one_by_one_where_there_is_no_call_for_all(
        self, simulator: Simulator
    ) -> None:
        async with connected(simulator, "gate") as exchange:
            assert len(await exchange.tickers([])) > 2
            exchange.has = {}

            assert list(await exchange.tickers(["ETH/USDT", "BTC/USDT"])) == ["ETH/USDT", "BTC/USDT"]
            with pytest.raises(FailedPrecondition) as refused:
                await exchange.tickers([])
            assert refused.value.reason == "NOT_SUPPORTED"

    async def test_one_market_without_a_ticker_does_not_cost_the_others_theirs(
        self, simulator: Simulator
    ) -> None:
        async with connected(simulator, "gate") as exchange:
            exchange.has = {}
            await exchange.markets()
            simulator.faults["gate"].add(FaultKind.HTML, times=1)

            assert list(await exchange.tickers(["ETH/USDT", "BTC/USDT"])) == ["BTC/USDT"]
            simulator.faults["gate"].add(FaultKind.HTML, times=1)
            with pytest.raises(Unavailable):
                await exchange.tickers(["ETH/USDT"])

    async def test_an_unknown_symbol_is_refused_with_the_right_one(self, simulator: Simulator) -> None:
        async with connected(simulator, "okx") as exchange:
            with pytest.raises(InvalidArgument) as refused:
                await exchange.ticker("SHARP-USDT")

        assert refused.value.reason == "UNKNOWN_SYMBOL"
        assert "SHARP/USDT" in refused.value.violations[0].description

    async def test_an_unknown_span_of_candles_is_refused(self, simulator: Simulator) -> None:
        async with connected(simulator, "okx") as exchange:
            with pytest.raises(InvalidArgument) as refused:
                await exchange.candles("SHARP/USDT", "7m", None, 3)

        assert refused.value.reason == "UNKNOWN_TIMEFRAME"


class TestBadAnswers:
    @pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.TRUNCATED, FaultKind.HUGE, FaultKind.EMPTY])
    @every_exchange
    async def test_have_one_clear_status_and_never_look_like_no_balances(
        self, simulator: Simulator, exchange_id: str, kind: FaultKind
    ) -> None:
        async with connected(simulator, exchange_id) as exchange:
            own = session(exchange, simulator, balances={"BTC": "1"})
            await own.balances()
            simulator.faults[exchange_id].add(kind)

            with pytest.raises(Unavailable) as failed:
                await own.balances()

            assert failed.value.reason == "EXCHANGE_BAD_RESPONSE"
            simulator.faults[exchange_id].clear()
            assert await own.balances() == [Balance("BTC", "1", "0", "1")]

    @every_exchange
    async def test_json_of_another_form_never_looks_like_no_balances(
        self, simulator: Simulator, exchange_id: str
    ) -> None:
        async with connected(simulator, exchange_id) as exchange:
            own = session(exchange, simulator, balances={"BTC": "1"})
            await own.balances()
            forms: list[object] = [
                {"unexpected": True},
                {"msg": "maintenance"},
                {"balances": None, "result": None, "data": None},
            ]
            if exchange_id != "gate":  # whose balances are a list
                forms.append([])
            for form in forms:
                own._connector.on_json_response = lambda _, form=form: form

                with pytest.raises(KeybridgeError) as failed:
                    await own.balances()

                # okx and kucoin put a code into each answer; ccxt takes one without it for a refusal.
                expected = "EXCHANGE_ERROR" if exchange_id in ("okx", "kucoin") else "EXCHANGE_BAD_RESPONSE"
                assert failed.value.reason == expected

    @every_exchange
    async def test_nothing_of_a_request_is_in_an_error(self, simulator: Simulator, exchange_id: str) -> None:
        async with connected(simulator, exchange_id) as exchange:
            keys = simulator.add_account(exchange_id)
            own = exchange.session(credentials(keys), OWNER)
            await own.balances()
            simulator.faults[exchange_id].add(FaultKind.DROP)

            with pytest.raises(KeybridgeError) as failed:
                await own.balances()

        told = f"{failed.value!r} {failed.value.metadata} {failed.value.__cause__!r}"
        assert failed.value.reason == "EXCHANGE_UNAVAILABLE"
        assert not any(part in told for part in (keys.api_key, keys.secret, "127.0.0.1", "signature"))


class TestLimits:
    @pytest.mark.parametrize("kind", [FaultKind.RATE_LIMITED, FaultKind.BANNED])
    @every_exchange
    async def test_everybody_stays_away_for_as_long_as_the_exchange_says(
        self, simulator: Simulator, exchange_id: str, kind: FaultKind
    ) -> None:
        async with connected(simulator, exchange_id) as exchange:
            one, other = session(exchange, simulator), session(exchange, simulator)
            await one.balances()
            simulator.faults[exchange_id].add(kind, seconds=77, times=1)

            with pytest.raises(ResourceExhausted) as turned_away:
                await one.balances()
            sent = simulator.seen.count(exchange.id)
            assert turned_away.value.reason == "RATE_LIMITED"
            assert turned_away.value.retry_after is not None
            if exchange_id == "kraken":  # says so with status 200, and of one account only
                assert await other.balances() == []
                return
            with pytest.raises(ResourceExhausted) as not_sent:
                await other.balances()

            assert not_sent.value.retry_after is not None
            assert timedelta(seconds=5) < not_sent.value.retry_after <= timedelta(seconds=78)
            assert simulator.seen.count(exchange.id) == sent

    async def test_two_connectors_keep_one_limit_together(self, simulator: Simulator) -> None:
        async with connected(simulator, "okx", replace(QUICK, rate_share=4)) as exchange:
            one, other = session(exchange, simulator), session(exchange, simulator)
            await asyncio.gather(*(own.balances() for own in (one, other) for _ in range(4)))
            interval = (await exchange.loaded()).template.rateLimit / 4 / 1000

        times = [request.monotonic for request in simulator.seen.requests("okx", "account/balance")]
        assert len(times) == 8
        # Two may go at once, for an interval of idleness; each of the others waits for its turn.
        assert times[-1] - times[0] >= 6 * interval * 0.9

    async def test_a_clock_that_differs_is_set_and_the_request_made_again(self, simulator: Simulator) -> None:
        async with connected(simulator, "binance") as exchange:
            own = session(exchange, simulator)
            connector = await own._in_use()
            connector.options["timeDifference"] = 3_600_000

            assert await own.balances() == []
            assert abs(connector.options["timeDifference"]) < 5000

    async def test_a_clock_that_differs_again_is_reported(self, simulator: Simulator) -> None:
        async def in_vain() -> None:
            """Stands for a server whose clock jumps."""

        async with connected(simulator, "binance") as exchange:
            own = session(exchange, simulator)
            connector = await own._in_use()
            connector.options["timeDifference"] = 3_600_000
            connector.load_time_difference = in_vain

            with pytest.raises(Unavailable) as reported:
                await own.balances()
            assert reported.value.reason == "CLOCK_SKEW"


class TestOutages:
    async def test_an_exchange_that_hangs_keeps_nobody_elses_callers(self, simulator: Simulator) -> None:
        async with connected(simulator, "okx") as hanging, connected(simulator, "gate") as lively:
            stuck = [session(hanging, simulator) for _ in range(200)]
            free = session(lively, simulator, balances={"BTC": "1"})
            await stuck[0].balances()
            simulator.seen.clear()
            simulator.faults["okx"].add(FaultKind.HANG)
            waiting = [asyncio.ensure_future(each.balances()) for each in stuck]
            await simulator.seen.until(QUICK.connections, "okx")  # all connections that it may have

            assert await free.balances() == [Balance("BTC", "1", "0", "1")]
            assert not any(task.done() for task in waiting)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def test_an_exchange_that_never_answers_is_a_time_out(self, simulator: Simulator) -> None:
        hasty = replace(QUICK, request_timeout=timedelta(seconds=3))
        async with connected(simulator, "okx", hasty) as exchange:
            own = session(exchange, simulator)
            await exchange.markets()
            simulator.faults["okx"].add(FaultKind.HANG)

            with pytest.raises(DeadlineExceeded) as late:
                await own.balances()

            assert late.value.reason == "EXCHANGE_TIMEOUT"
            assert not (await exchange.loaded()).template.line.breaker.is_open

    async def test_time_outs_of_the_patient_count_and_those_of_the_hasty_do_not(
        self, simulator: Simulator
    ) -> None:
        patient = replace(QUICK, patience=timedelta(seconds=1.5), breaker_failures=1)
        async with connected(simulator, "okx", patient) as exchange:
            own = session(exchange, simulator)
            await exchange.markets()
            breaker = (await exchange.loaded()).template.line.breaker
            simulator.faults["okx"].add(FaultKind.HANG)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(own.balances(), 0.01)
            assert not breaker.is_open
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(own.balances(), 4)
            assert breaker.is_open

    async def test_after_repeated_failures_callers_are_told_at_once_until_it_is_back(
        self, simulator: Simulator
    ) -> None:
        quick = replace(QUICK, breaker_failures=2, breaker_pause=timedelta(seconds=3))
        async with connected(simulator, "kucoin", quick) as exchange:
            own = session(exchange, simulator, balances={"BTC": "1"})
            other = session(exchange, simulator)
            await asyncio.gather(own.balances(), other.balances())
            simulator.faults["kucoin"].add(FaultKind.FAIL)
            for each in (own, own, own, other):
                assert not (await exchange.loaded()).template.line.breaker.is_open
                with pytest.raises(Unavailable):
                    await each.balances()
            sent = simulator.seen.count(exchange.id)

            with pytest.raises(Unavailable) as told:
                await own.balances()
            assert told.value.reason == "EXCHANGE_UNAVAILABLE"
            assert told.value.retry_after is not None
            assert simulator.seen.count(exchange.id) == sent

            simulator.faults["kucoin"].clear()
            await asyncio.sleep(told.value.retry_after.total_seconds())
            assert await own.balances() == [Balance("BTC", "1", "0", "1")]

    async def test_a_closed_exchange_says_so(self, simulator: Simulator) -> None:
        async with connected(simulator, "gate") as exchange:
            own = session(exchange, simulator)
            await own.balances()

        with pytest.raises(Unavailable):
            await own.balances()


async def test_a_request_to_another_host_than_the_settings_name_is_not_sent(simulator: Simulator) -> None:
    async with connected(simulator, "gate") as exchange:
        connector = (await exchange.loaded()).template

        with pytest.raises(ccxt.NotSupported, match="outside of the base URL"):
            await connector.fetch("https://api.gateio.ws/api/v4/spot/time")


async def test_requests_go_through_the_proxy_that_the_settings_name() -> None:
    asked: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[1])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        options = replace(
            QUICK, urls={"okx": "http://venue.invalid/okx"}, proxy_url=f"http://127.0.0.1:{port}"
        )
        exchange = CcxtExchange("okx", Environment.LIVE, options)
        with pytest.raises(KeybridgeError):
            await exchange.markets()
        await exchange.close()

    assert asked
    assert all(url.startswith("http://venue.invalid/okx/") for url in asked)
