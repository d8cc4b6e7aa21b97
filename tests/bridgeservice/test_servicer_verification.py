"""Verification over a real socket: credentials are proven before they are held, and what they may do is told."""

import asyncio
import io
from typing import Any

import grpc
import pytest

from bridgeservice.exchanges.exchange import Permission, Permissions
from bridgeservice.v1 import trading_bridge_pb2 as pb
from bridgeservice.v1.permissions_pb2 import PERMISSION_NO, PERMISSION_UNKNOWN, PERMISSION_YES
from servicekit.errors import FailedPrecondition
from tests.support.bridge_service import ACCOUNT, Bridge, connector_request, new_credentials
from tests.support.key_service import refusal, violations
from tests.support.logged import lines
from tests.support.probe import eventually

REJECTED = FailedPrecondition("kraken refuses these credentials.", reason="CREDENTIALS_REJECTED")
THIS: dict[str, Any] = {"account_name": ACCOUNT, "connector_name": "kraken"}


async def verified(bridge: Bridge) -> pb.VerifyConnectorResponse:
    return await bridge.stub.VerifyConnector(pb.VerifyConnectorRequest(**THIS))


async def known(bridge: Bridge) -> pb.GetConnectorResponse:
    return await bridge.stub.GetConnector(pb.GetConnectorRequest(**THIS))


async def test_what_the_exchange_says_is_told_and_kept(bridge: Bridge) -> None:
    await bridge.add()
    assert not (await known(bridge)).HasField("permissions")
    answer = await verified(bridge)
    told = answer.permissions
    assert (told.read, told.trade, told.withdraw) == (PERMISSION_YES, PERMISSION_NO, PERMISSION_NO)
    assert answer.warning == ""
    assert answer.connector == await bridge.get()
    assert (await known(bridge)).permissions == told


async def test_where_withdrawals_are_allowed_the_caller_and_the_log_are_told(
    bridge: Bridge, output: io.StringIO
) -> None:
    granted = Permissions(Permission.YES, Permission.UNKNOWN, Permission.YES)
    bridge.exchanges["kraken"].granted = granted
    await bridge.add()
    answer = await verified(bridge)
    assert answer.permissions.trade == PERMISSION_UNKNOWN
    assert "allow withdrawals" in answer.warning
    [warned] = [line for line in lines(output) if line["event"] == "credentials allow withdrawals"]
    assert (warned["account"], warned["connector"], warned["level"]) == (ACCOUNT, "kraken", "warning")


async def test_refused_credentials_are_said_to_be(bridge: Bridge) -> None:
    await bridge.add()
    bridge.exchanges["kraken"].error = REJECTED
    told = await refusal(verified(bridge))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIALS_REJECTED")
    assert not (await known(bridge)).HasField("permissions")


async def test_an_exchange_that_hangs_is_named_in_time(bridge: Bridge) -> None:
    await bridge.add()
    bridge.exchanges["kraken"].gate = asyncio.Event()
    told = await refusal(bridge.stub.VerifyConnector(pb.VerifyConnectorRequest(**THIS), timeout=5))
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "EXCHANGE_TIMEOUT")


async def test_with_verify_a_push_is_answered_with_what_the_credentials_may_do(bridge: Bridge) -> None:
    assert not (await bridge.stub.AddConnector(connector_request())).HasField("permissions")
    bridge.exchanges["kraken"].granted = Permissions(Permission.YES, Permission.NO, Permission.YES)
    answer = await bridge.stub.AddConnector(connector_request(revision=2, verify=True))
    told = answer.permissions
    assert (told.read, told.trade, told.withdraw) == (PERMISSION_YES, PERMISSION_NO, PERMISSION_YES)
    assert "allow withdrawals" in answer.warning
    assert told == (await known(bridge)).permissions


async def test_with_verify_a_connector_is_held_once_it_is_proven(bridge: Bridge) -> None:
    await bridge.add(verify=True)
    assert (await known(bridge)).permissions.read == PERMISSION_YES
    await bridge.holding()
    assert len(bridge.exchanges["kraken"].sessions) == 1


async def test_with_verify_what_is_refused_is_not_held_and_what_was_there_stays(bridge: Bridge) -> None:
    exchange = bridge.exchanges["kraken"]
    exchange.error = REJECTED
    told = await refusal(bridge.stub.AddConnector(connector_request(verify=True)))
    assert told.reason == "CREDENTIALS_REJECTED"
    assert (bridge.accounts.account_count, bridge.accounts.connector_count) == (0, 0)
    before = await bridge.add(revision=1)
    await refusal(bridge.stub.AddConnector(connector_request(revision=2, verify=True)))
    assert await bridge.get() == before
    await eventually(lambda: all(session.closed for session in exchange.sessions), "all are closed")


async def test_with_verify_a_repetition_proves_what_is_held(bridge: Bridge) -> None:
    credentials = new_credentials()
    held = await bridge.add(credentials=credentials)
    assert await bridge.add(credentials=credentials, verify=True) == held
    assert await bridge.add(credentials=credentials, verify=True) == held
    [session] = bridge.exchanges["kraken"].sessions
    assert not session.closed
    assert (await known(bridge)).permissions.read == PERMISSION_YES


async def test_a_stale_push_is_refused_before_the_exchange_is_asked(bridge: Bridge) -> None:
    await bridge.add(revision=2)
    told = await refusal(bridge.stub.AddConnector(connector_request(revision=1, verify=True)))
    assert told.reason == "STALE_REVISION"
    assert bridge.exchanges["kraken"].asked.total() == 0


async def test_a_removal_during_the_proof_wins(bridge: Bridge) -> None:
    exchange = bridge.exchanges["kraken"]
    exchange.gate = asyncio.Event()
    adding = asyncio.create_task(refusal(bridge.stub.AddConnector(connector_request(verify=True))))
    await eventually(lambda: exchange.asked["permissions"] == 1, "the exchange is asked")
    await bridge.remove(revision=2)
    exchange.gate.set()
    assert (await adding).reason == "STALE_REVISION"
    await eventually(lambda: exchange.sessions[0].closed, "its session is closed")
    assert bridge.accounts.connector_count == 0


async def test_only_the_revision_that_was_asked_for_is_verified(bridge: Bridge) -> None:
    await bridge.add(revision=2)
    for revision in (1, 3):
        request = pb.VerifyConnectorRequest(**THIS, revision=revision)
        assert (await refusal(bridge.stub.VerifyConnector(request))).reason == "CONNECTOR_NOT_FOUND"
    assert not bridge.exchanges["kraken"].asked
    request.revision = 2
    assert (await bridge.stub.VerifyConnector(request)).connector.revision == 2
    request.revision = -1
    assert violations(await refusal(bridge.stub.VerifyConnector(request))).keys() == {"revision"}


@pytest.mark.parametrize("name", ["kraken", "gate"])
async def test_what_is_not_there_cannot_be_verified(bridge: Bridge, name: str) -> None:
    await bridge.add("gate")
    request = pb.VerifyConnectorRequest(
        account_name=ACCOUNT if name == "kraken" else "x", connector_name=name
    )
    told = await refusal(bridge.stub.VerifyConnector(request))
    assert told.code is grpc.StatusCode.NOT_FOUND
