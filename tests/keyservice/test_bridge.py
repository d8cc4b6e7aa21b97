"""The client of the bridge, over a real socket to the real bridge."""

import io
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridgeservice.exchanges.exchange import Environment as ExchangeEnvironment
from bridgeservice.records import Connector as HeldConnector
from bridgeservice.v1 import connector_pb2, portfolio_pb2
from bridgeservice.v1 import trading_bridge_pb2 as pb
from keyservice.bridge import Bridge
from keyservice.bridge_records import BridgeInfo, Connector, Outcome, Permissions, Portfolio
from keyservice.enums import BridgeReason, Environment, Permission, ReadStatus
from servicekit.credentials import Credentials
from servicekit.errors import Unauthenticated
from servicekit.rpc.call import Call
from servicekit.rpc.tls import ServerTls
from tests.support.bridges import RunningBridge, bridge_client, refuses, running_bridge
from tests.support.certificates import Authority
from tests.support.logged import lines
from tests.support.probe import Echo, Probe, ProbeStub, plain_channel, serving

SOON = timedelta(seconds=20)
NOW = timedelta(0)


@pytest.fixture
async def far() -> AsyncIterator[RunningBridge]:
    """The bridge."""
    async with running_bridge() as bridge:
        yield bridge


@pytest.fixture
async def bridge(far: RunningBridge) -> AsyncIterator[Bridge]:
    """KeyService's client of it."""
    async with bridge_client(far.target) as client:
        yield client


def connector(revision: int = 1, **changes: str) -> Connector:
    names = {
        "account_name": "client_of_this_test",
        "connector_name": "kraken",
        "exchange": "kraken",
    } | changes
    return Connector(environment=Environment.LIVE, revision=revision, **names)


def credentials() -> Credentials:
    return Credentials(api_key=secrets.token_hex(16), api_secret=secrets.token_hex(32))


async def test_a_push_is_acknowledged_by_the_run_that_holds_it(bridge: Bridge, far: RunningBridge) -> None:
    given = credentials()
    outcome = await bridge.push(connector(), given, verify=False, timeout=SOON)
    assert outcome.ok
    assert outcome.instance_id == far.instance_id
    held = far.held()["client_of_this_test", "kraken"]
    assert dict(held.credentials.named()) == dict(given.named())
    assert held.revision == 1


async def test_every_call_names_its_account_in_the_header(bridge: Bridge, far: RunningBridge) -> None:
    await bridge.push(connector(), credentials(), verify=True, timeout=SOON)
    await bridge.verify(connector(), timeout=SOON)
    await bridge.portfolio("client_of_this_test", {"kraken": 1}, max_age=NOW, timeout=SOON)
    await bridge.connectors("client_of_this_test", timeout=SOON)
    await bridge.remove(connector(2), timeout=SOON)
    assert [name for name, _, _ in far.faults.seen] == [
        "AddConnector", "VerifyConnector", "GetPortfolio", "ListConnectors", "RemoveConnector",
    ]  # fmt: skip
    assert {call.header("x-keybridge-account") for _, _, call in far.faults.seen} == {"client_of_this_test"}


async def test_info_says_which_run_is_there(bridge: Bridge, far: RunningBridge) -> None:
    info = await bridge.info(timeout=SOON)
    assert isinstance(info, BridgeInfo)
    assert info.instance_id == far.instance_id
    assert bridge.last_info is not None
    assert bridge.last_info[1] is info


async def test_a_bridge_that_is_away_is_not_asked_for_every_key_and_is_heard_when_it_is_back(
    bridge: Bridge, far: RunningBridge
) -> None:
    await far.stop()
    first = await bridge.push(connector(), credentials(), verify=False, timeout=SOON)
    assert first.reason is BridgeReason.BRIDGE_UNAVAILABLE
    assert bridge.is_away(connector().account_name)
    answer = await bridge.portfolio("client_of_this_test", {}, max_age=NOW, timeout=SOON)
    assert answer == replace(first, asked=False)
    await far.start()
    while not isinstance(await bridge.info(timeout=SOON), BridgeInfo):
        pass
    assert (await bridge.push(connector(), credentials(), verify=False, timeout=SOON)).ok


async def test_what_the_bridge_does_not_hold_is_told_as_not_found(bridge: Bridge) -> None:
    await bridge.push(connector(), credentials(), verify=False, timeout=SOON)
    answer = await bridge.portfolio("client_of_this_test", {"okx": 1}, max_age=NOW, timeout=SOON)
    assert isinstance(answer, Portfolio)
    assert [each.status for each in answer.holdings] == [ReadStatus.NOT_FOUND]


async def test_over_tls_it_trusts_the_named_authority_only_and_shows_who_it_is(tmp_path: Path) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    files = {name: tmp_path / f"{name}.pem" for name in ("ours", "theirs", "cert", "key")}
    ours.write(files["ours"])
    theirs.write(files["theirs"])
    ours.issue("bridge.example").write(files["cert"], files["key"])
    tls = ServerTls(files["cert"], files["key"], files["ours"])
    own = {"bridge_tls_cert_file": files["cert"], "bridge_tls_key_file": files["key"]}
    async with running_bridge(tls=tls) as far:
        for authority, answers in (("ours", True), ("theirs", False)):
            trusted = {"bridge_tls_ca_file": files[authority], **own}
            async with bridge_client(
                far.target, bridge_tls_server_name="bridge.example", **trusted
            ) as bridge:
                assert isinstance(await bridge.info(timeout=SOON), BridgeInfo) == answers


async def test_an_answer_about_another_revision_is_no_acknowledgement(
    bridge: Bridge, far: RunningBridge
) -> None:
    other = connector_pb2.Connector(revision=7, instance_id="another")
    far.faults.answers["AddConnector"] = pb.AddConnectorResponse(connector=other)
    outcome = await bridge.push(connector(), credentials(), verify=False, timeout=SOON)
    assert outcome.reason is BridgeReason.BRIDGE_ERROR
    assert not outcome.instance_id


@pytest.mark.parametrize("held", [1, 3])
async def test_a_connector_of_another_revision_is_not_the_key_s_and_no_exchange_is_asked_with_it(
    bridge: Bridge, far: RunningBridge, held: int
) -> None:
    await bridge.push(connector(held), credentials(), verify=False, timeout=SOON)
    assert (await bridge.verify(connector(2), timeout=SOON)).missing
    answer = await bridge.portfolio("client_of_this_test", {"kraken": 2}, max_age=NOW, timeout=SOON)
    assert isinstance(answer, Portfolio)
    assert [each.status for each in answer.holdings] == [ReadStatus.NOT_FOUND]
    assert not far.running.exchanges["kraken"].asked


async def test_a_verification_says_what_the_credentials_may_do(bridge: Bridge) -> None:
    await bridge.push(connector(), credentials(), verify=False, timeout=SOON)
    outcome = await bridge.verify(connector(), timeout=SOON)
    assert outcome.permissions == Permissions(Permission.YES, Permission.NO, Permission.NO)


async def test_all_pages_of_an_account_are_read(bridge: Bridge, far: RunningBridge) -> None:
    names = [f"kraken:{number:04}" for number in range(1001)]
    for name in names:
        held_there = HeldConnector(
            "client_of_this_test", name, "kraken", ExchangeEnvironment.LIVE, credentials(), revision=1
        )
        far.running.accounts.add(held_there)
    held = await bridge.connectors("client_of_this_test", timeout=SOON)
    assert isinstance(held, list)
    assert [each.connector_name for each in held] == names
    assert {each.instance_id for each in held} == {far.instance_id}
    assert len(far.faults.requests("ListConnectors")) == 2


async def test_a_status_of_a_later_contract_is_not_taken_for_ok(bridge: Bridge, far: RunningBridge) -> None:
    entry = portfolio_pb2.ConnectorPortfolio(connector_name="kraken")
    entry.MergeFromString(b"\x18\x63")  # status 99
    far.faults.answers["GetPortfolio"] = pb.GetPortfolioResponse(connectors=[entry])
    answer = await bridge.portfolio("client_of_this_test", {"kraken": 1}, max_age=NOW, timeout=SOON)
    assert isinstance(answer, Portfolio)
    assert [each.status for each in answer.holdings] == [ReadStatus.ERROR]


async def test_the_bridge_is_shown_a_token_of_one_s_own_and_nothing_of_the_caller_s(
    far: RunningBridge, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("our.own.token\n")
    async with bridge_client(far.target, bridge_token_file=tmp_path / "token") as bridge:

        async def answer(_request: Any, _call: Call) -> Any:
            await bridge.connectors("client_of_this_test", timeout=SOON)
            return Echo()

        theirs = (("authorization", "Bearer theirs"), ("x-request-id", "the-request"), ("x-more", "theirs"))
        async with serving(Probe(answer)) as front, plain_channel(front.port) as channel:
            await ProbeStub(channel).GetEcho(Echo(), metadata=theirs)
    [(_, _, call)] = far.faults.seen
    sent = dict(call.context.invocation_metadata() or ())
    assert sent.pop("user-agent")
    assert sent == {
        "authorization": "Bearer our.own.token",
        "x-keybridge-account": "client_of_this_test",
        "x-request-id": "the-request",
    }


async def test_that_the_bridge_does_not_admit_us_is_said_once_and_is_a_refusal_like_any_other(
    bridge: Bridge, far: RunningBridge, output: io.StringIO
) -> None:
    for _ in range(2):
        far.faults.before["GetBridgeInfo"] = refuses(Unauthenticated("Who?", reason="TOKEN_EXPIRED"))
        for _ in range(3):
            outcome = await bridge.info(timeout=SOON)
            assert isinstance(outcome, Outcome)
            assert outcome.reason is BridgeReason.BRIDGE_ERROR
        far.faults.clear()
        await bridge.info(timeout=SOON)
    told = [
        each["reason"] for each in lines(output) if each["event"] == "the bridge does not admit this service"
    ]
    assert told == ["TOKEN_EXPIRED"] * 2
