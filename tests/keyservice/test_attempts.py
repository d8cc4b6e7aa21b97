"""Attempts at the bridge, as operators see them: a warning for each that failed or was not made, and rates by outcome
and reason.
"""

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Aborted, FailedPrecondition, ResourceExhausted, Unavailable
from tests.support.bridges import Fault, RunningBridge, aborts, hangs, refuses, refuses_once
from tests.support.key_service import KeyService, new_credentials, running
from tests.support.logged import lines

# What happens at the bridge, and what an operator reads of it: reason and code.
FAILURES: dict[str, tuple[Fault, str, str]] = {
    "it hangs": (hangs, "BRIDGE_TIMEOUT", "DEADLINE_EXCEEDED"),
    "its connection is cut": (aborts(grpc.StatusCode.UNAVAILABLE), "BRIDGE_UNAVAILABLE", "UNAVAILABLE"),
    "the credentials are refused": (
        refuses(FailedPrecondition("no", reason="CREDENTIALS_REJECTED")),
        "CREDENTIALS_REJECTED",
        "FAILED_PRECONDITION",
    ),
    "the exchange is away": (
        refuses(Unavailable("no", reason="EXCHANGE_UNAVAILABLE")),
        "EXCHANGE_UNAVAILABLE",
        "UNAVAILABLE",
    ),
    "the exchange asks to wait": (
        refuses(ResourceExhausted("no", reason="RATE_LIMITED", retry_after=timedelta(hours=1))),
        "RATE_LIMITED",
        "RESOURCE_EXHAUSTED",
    ),
    "it does not know the method": (
        aborts(grpc.StatusCode.UNIMPLEMENTED),
        "BRIDGE_ERROR",
        "UNIMPLEMENTED",
    ),
}


@pytest.fixture
async def service(
    database_url: DatabaseUrl, bridge: RunningBridge, output: io.StringIO
) -> AsyncIterator[KeyService]:
    async with running(
        database_url, bridge_target=bridge.target, bridge_wait=timedelta(seconds=30)
    ) as service:
        yield service


FAILED = "the bridge does not match a key yet"
NOT_MADE = "the bridge was not asked to match a key"


def warnings(output: io.StringIO, event: str = FAILED) -> list[dict[str, Any]]:
    """What was logged of attempts that failed, or of those not made, without what every line has."""
    found = [line for line in lines(output) if line["event"] == event]
    assert {line["level"] for line in found} <= {"warning"}
    told = ("action", "api_key_id", "exchange", "reason", "code", "attempt")
    return [{name: line[name] for name in told} for line in found]


def warning(key: ApiKey, reason: str, code: str, *, action: str = "push", attempt: int = 1) -> dict[str, Any]:
    return {
        "action": action,
        "api_key_id": key.id,
        "exchange": key.exchange,
        "reason": reason,
        "code": code,
        "attempt": attempt,
    }


def counted(service: KeyService, action: str, outcome: str, reason: str = "") -> float:
    labels = {"action": action, "outcome": outcome, "reason": reason}
    return service.registry.get_sample_value("keyservice_bridge_attempts_total", labels) or 0


def require_no_secret(output: io.StringIO, given: Credentials) -> None:
    for secret in (given.api_key, given.api_secret):
        assert secret not in output.getvalue()


@pytest.mark.parametrize("what", FAILURES)
async def test_a_push_that_fails_is_one_warning_and_counts_once(
    service: KeyService, client: Client, bridge: RunningBridge, output: io.StringIO, what: str
) -> None:
    bridge.faults.before["AddConnector"], reason, code = FAILURES[what]
    if what == "it hangs":
        service.convergence.inline_wait = timedelta(seconds=0.5)
    given = new_credentials()
    key = await service.add_key(client, credentials=given)
    assert warnings(output) == [warning(key, reason, code)]
    assert counted(service, "push", "failure", reason) == 1
    assert counted(service, "push", "success") == 0
    require_no_secret(output, given)


@pytest.mark.usefixtures("breaker")
async def test_each_key_that_an_outage_keeps_from_the_bridge_is_a_warning_and_only_what_was_sent_failed(
    service: KeyService, client: Client, bridge: RunningBridge, output: io.StringIO
) -> None:
    before = await service.add_key(client, label="before")
    await bridge.stop()
    sent, *not_sent = [await service.add_key(client, label=label) for label in "abc"]
    await service.delete_key(before)
    away = ("BRIDGE_UNAVAILABLE", "UNAVAILABLE")
    assert warnings(output) == [warning(sent, *away)]
    assert warnings(output, NOT_MADE) == [
        *(warning(key, *away) for key in not_sent),
        warning(before, *away, action="remove"),
    ]
    reason = "BRIDGE_UNAVAILABLE"
    assert (counted(service, "push", "failure", reason), counted(service, "push", "not_sent", reason)) == (
        1,
        2,
    )
    assert (
        counted(service, "remove", "failure", reason),
        counted(service, "remove", "not_sent", reason),
    ) == (0, 1)


async def test_a_removal_that_fails_says_that_it_was_one(
    service: KeyService, client: Client, bridge: RunningBridge, output: io.StringIO
) -> None:
    key = await service.add_key(client)
    bridge.faults.before["RemoveConnector"] = aborts(grpc.StatusCode.UNIMPLEMENTED)
    await service.delete_key(key)
    assert warnings(output) == [warning(key, "BRIDGE_ERROR", "UNIMPLEMENTED", action="remove")]
    assert counted(service, "push", "success") == 1
    assert counted(service, "remove", "failure", "BRIDGE_ERROR") == 1


async def test_a_push_that_is_called_stale_and_then_succeeds_is_one_of_each(
    service: KeyService, client: Client, bridge: RunningBridge, output: io.StringIO
) -> None:
    bridge.faults.before["AddConnector"] = refuses_once(Aborted("no", reason="STALE_REVISION"))
    key = await service.add_key(client)
    assert key.trading_bridge_configured
    assert warnings(output) == [warning(key, "BRIDGE_ERROR", "ABORTED")]
    assert counted(service, "push", "failure", "BRIDGE_ERROR") == counted(service, "push", "success") == 1


async def test_what_succeeds_is_counted_and_no_warning(
    service: KeyService, client: Client, output: io.StringIO
) -> None:
    key = await service.add_key(client)
    await service.rotate_key(key)
    await service.stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=key.id))
    await service.delete_key(key)
    assert not warnings(output)
    assert (counted(service, "push", "success"), counted(service, "remove", "success")) == (3, 1)
