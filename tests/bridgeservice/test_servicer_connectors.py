"""Accounts and connectors over a real socket: made, read, listed, replaced and removed."""

import asyncio

import grpc
import pytest

from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.credentials_pb2 import Credentials
from bridgeservice.v1.environment_pb2 import ENVIRONMENT_LIVE, ENVIRONMENT_SANDBOX
from tests.support.bridge_service import ACCOUNT, Bridge, connector_request, new_credentials
from tests.support.key_service import refusal, violations
from tests.support.probe import eventually

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def refused(bridge: Bridge, request: pb.AddConnectorRequest) -> tuple[grpc.StatusCode, str | None]:
    told = await refusal(bridge.stub.AddConnector(request))
    return told.code, told.reason


async def test_a_connector_is_told_as_the_bridge_holds_it(bridge: Bridge) -> None:
    added = await bridge.add("gate:main", 7, exchange="gateio")
    assert added.account_name == ACCOUNT
    assert added.connector_name == "gate:main"
    assert added.exchange == "gate"
    assert added.environment == ENVIRONMENT_LIVE
    assert added.revision == 7
    assert added.instance_id == bridge.identity.instance_id
    assert added.create_time.ToDatetime().year >= 2026
    assert await bridge.get("gate:main") == added
    account = (await bridge.stub.GetAccount(pb.GetAccountRequest(account_name=ACCOUNT))).account
    assert list(account.connectors) == [added]


async def test_nothing_is_sent_to_the_exchange_before_the_connector_is_used(bridge: Bridge) -> None:
    await bridge.add()
    assert bridge.exchanges.made == {}


async def test_the_same_push_is_taken_twice_and_a_lower_or_reused_revision_never(bridge: Bridge) -> None:
    request = connector_request(revision=5)
    first = (await bridge.stub.AddConnector(request)).connector
    assert (await bridge.stub.AddConnector(request)).connector == first
    reused = connector_request(revision=5)
    assert await refused(bridge, reused) == (grpc.StatusCode.ALREADY_EXISTS, "REVISION_REUSED")
    lower = connector_request(revision=4)
    assert await refused(bridge, lower) == (grpc.StatusCode.ABORTED, "STALE_REVISION")
    assert await bridge.get() == first
    assert (await bridge.add(revision=6)).create_time == first.create_time


async def test_a_call_under_way_finishes_with_the_credentials_that_it_began_with(bridge: Bridge) -> None:
    old, new = new_credentials(), new_credentials()
    exchange = bridge.exchanges["kraken"]
    exchange.gate = asyncio.Event()
    await bridge.add(revision=1, credentials=old)
    under_way = asyncio.create_task(bridge.holding())
    await eventually(lambda: exchange.asked["balances"] == 1, "the old one is asked")
    await bridge.add(revision=2, credentials=new)
    second = asyncio.create_task(bridge.holding())
    await eventually(lambda: exchange.asked["balances"] == 2, "the new one is asked")
    [first_session, second_session] = exchange.sessions
    assert not first_session.closed
    exchange.gate.set()
    for holding in await asyncio.gather(under_way, second):
        assert holding.balances[0].asset == "BTC"
    assert first_session.credentials.api_key == old.api_key
    assert second_session.credentials.api_key == new.api_key
    await eventually(lambda: first_session.closed, "the old one is closed")
    assert not first_session.closed_in_use
    assert not second_session.closed


async def test_a_removal_closes_the_connector_and_a_late_push_does_not_bring_it_back(bridge: Bridge) -> None:
    await bridge.add(revision=1)
    await bridge.holding()
    for _ in range(2):
        await bridge.remove(revision=3)
    [session] = bridge.exchanges["kraken"].sessions
    await eventually(lambda: session.closed, "its session is closed")
    told = await refusal(bridge.get())
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "CONNECTOR_NOT_FOUND")
    for late in (1, 2):
        assert await refused(bridge, connector_request(revision=late)) == (
            grpc.StatusCode.ABORTED,
            "STALE_REVISION",
        )
    await bridge.add(revision=4)
    told = await refusal(bridge.remove(revision=3))
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "STALE_REVISION")


async def test_removing_what_is_not_there_succeeds(bridge: Bridge) -> None:
    await bridge.remove(revision=3)
    told = await refusal(bridge.get())
    assert told.reason == "ACCOUNT_NOT_FOUND"


async def test_deleting_an_account_closes_all_of_it(bridge: Bridge) -> None:
    await bridge.add("kraken")
    await bridge.add("gate", 2)
    await bridge.portfolio()
    for _ in range(2):
        await bridge.stub.DeleteAccount(pb.DeleteAccountRequest(account_name=ACCOUNT))
    sessions = [session for name in ("kraken", "gate") for session in bridge.exchanges[name].sessions]
    assert len(sessions) == 2
    await eventually(lambda: all(session.closed for session in sessions), "its sessions are closed")
    told = await refusal(bridge.stub.GetAccount(pb.GetAccountRequest(account_name=ACCOUNT)))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")


async def test_an_account_is_made_once_however_often_it_is_asked_for(bridge: Bridge) -> None:
    request = pb.CreateAccountRequest(account_name=ACCOUNT)
    made = [(await bridge.stub.CreateAccount(request)).account for _ in range(2)]
    assert made[0] == made[1]
    assert list(made[0].connectors) == []


async def test_many_pushes_at_once_leave_the_one_with_the_highest_revision(bridge: Bridge) -> None:
    pushes = [bridge.stub.AddConnector(connector_request(revision=1 + n * 7 % 20)) for n in range(20)]
    answers = await asyncio.gather(*pushes, return_exceptions=True)
    assert (await bridge.get()).revision == 20
    assert bridge.accounts.connector_count == 1
    told = {error.code() for error in answers if isinstance(error, grpc.aio.AioRpcError)}
    assert told <= {grpc.StatusCode.ABORTED}


async def test_lists_go_on_where_a_page_ended(bridge: Bridge) -> None:
    names = [f"kraken:{letter}" for letter in "dbace"]
    for name in names:
        await bridge.add(name)
        await bridge.stub.CreateAccount(pb.CreateAccountRequest(account_name=f"account {name}"))
    found: list[str] = []
    request = pb.ListConnectorsRequest(account_name=ACCOUNT, page_size=2)
    while True:
        page = await bridge.stub.ListConnectors(request)
        found += [each.connector_name for each in page.connectors]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == sorted(names)
    first = await bridge.stub.ListAccounts(pb.ListAccountsRequest(page_size=4))
    rest = await bridge.stub.ListAccounts(pb.ListAccountsRequest(page_token=first.next_page_token))
    assert [len(first.accounts), len(rest.accounts), rest.next_page_token] == [4, 2, ""]
    told = await refusal(bridge.stub.ListAccounts(pb.ListAccountsRequest(page_token=request.page_token)))
    assert list(violations(told)) == ["page_token"]


async def test_everything_that_is_wrong_is_told_at_once(bridge: Bridge) -> None:
    request = pb.AddConnectorRequest(
        account_name=" a",
        connector_name="x" * 129,
        exchange="kraken",
        credentials=Credentials(api_key="k\n"),
        environment=ENVIRONMENT_SANDBOX,
        revision=-1,
    )
    told = await refusal(bridge.stub.AddConnector(request))
    assert told.code is INVALID
    assert violations(told).keys() == {
        "account_name",
        "connector_name",
        "credentials.api_key",
        "credentials.api_secret",
        "environment",
        "revision",
    }
    told = await refusal(bridge.stub.AddConnector(pb.AddConnectorRequest(environment=9)))  # type: ignore[arg-type]  # of a later contract
    assert violations(told).keys() == {
        "account_name",
        "connector_name",
        "exchange",
        "environment",
        "revision",
    }


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        ("binanse", "did you mean binance"),
        ("bitmart", "BitMart can no longer be served"),
        ("?", "ListExchanges"),
    ],
)
async def test_an_exchange_that_nobody_serves_is_no_fault_of_the_request(
    bridge: Bridge, exchange: str, words: str
) -> None:
    told = await refusal(bridge.stub.AddConnector(connector_request("x", exchange=exchange)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EXCHANGE_UNSUPPORTED")
    assert words in told.message
    told = await refusal(bridge.stub.AddConnector(connector_request("x", 0, exchange=exchange)))
    assert violations(told).keys() == {"revision"}


async def test_a_paper_connector_needs_no_credentials(bridge: Bridge) -> None:
    assert (await bridge.add("paper", credentials=None)).exchange == "paper"


@pytest.mark.parametrize("method", ["CreateAccount", "GetAccount", "DeleteAccount"])
async def test_an_account_has_a_name(bridge: Bridge, method: str) -> None:
    request = getattr(pb, f"{method}Request")()
    told = await refusal(getattr(bridge.stub, method)(request))
    assert violations(told) == {"account_name": "is required"}
    assert told.message == "The request is not valid: account_name is required."


@pytest.mark.parametrize("method", ["GetConnector", "VerifyConnector"])
async def test_a_connector_is_asked_for_by_two_names(bridge: Bridge, method: str) -> None:
    request = getattr(pb, f"{method}Request")()
    told = await refusal(getattr(bridge.stub, method)(request))
    assert violations(told).keys() == {"account_name", "connector_name"}


async def test_the_bridge_says_which_it_is_and_how_much_it_holds(bridge: Bridge) -> None:
    await bridge.add("kraken")
    await bridge.add("gate")
    info = await bridge.stub.GetBridgeInfo(pb.GetBridgeInfoRequest())
    assert info.instance_id == bridge.identity.instance_id
    assert info.start_time.ToDatetime().year >= 2026
    assert (info.version, info.egress_address) == ("1.2.3", "192.0.2.7")
    assert (info.account_count, info.connector_count) == (1, 2)


async def test_exchanges_are_listed_by_id_with_what_they_need_and_can_do(bridge: Bridge) -> None:
    listed = await bridge.stub.ListExchanges(pb.ListExchangesRequest(page_size=1000))
    by_id = {each.id: each for each in listed.exchanges}
    assert list(by_id) == sorted(each.id for each in bridge.exchanges.catalogue.exchanges)
    assert by_id["kraken"].name == "Kraken"
    assert list(by_id["kraken"].required_credentials) == ["api_key", "api_secret"]
    assert list(by_id["kraken"].capabilities) == ["createOrder", "fetchBalance"]
    assert not by_id["kraken"].sandbox
    assert by_id["binance"].sandbox
    first = await bridge.stub.ListExchanges(pb.ListExchangesRequest())
    rest = await bridge.stub.ListExchanges(
        pb.ListExchangesRequest(page_token=first.next_page_token, page_size=1000)
    )
    assert [*first.exchanges, *rest.exchanges] == list(listed.exchanges)


async def test_while_exchanges_are_being_loaded_the_rest_is_served(bridge: Bridge) -> None:
    bridge.exchanges.loading = asyncio.Event()
    told = await refusal(bridge.stub.ListExchanges(pb.ListExchangesRequest(), timeout=5))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STARTING")
    bridge.exchanges.loading.set()
    await bridge.stub.ListExchanges(pb.ListExchangesRequest(page_size=1))
    bridge.exchanges.loading.clear()
    told = await refusal(bridge.stub.ListExchanges(pb.ListExchangesRequest(), timeout=0.3))
    assert told.code == grpc.StatusCode.DEADLINE_EXCEEDED
    await bridge.add()
    entry = await bridge.holding(seconds=5)
    assert "did not answer within" in entry.error
    waiting = asyncio.create_task(bridge.holding())
    bridge.exchanges.loading.set()
    assert (await waiting).error == ""
