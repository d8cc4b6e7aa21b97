"""The table of outcomes: each status code, with our ErrorInfo and without, over a real socket."""

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from keyservice.bridge import Bridge
from keyservice.bridge_outcomes import BY_REASON
from keyservice.bridge_records import Connector, Outcome
from keyservice.enums import BridgeReason, Environment
from servicekit import errors
from servicekit.credentials import Credentials
from servicekit.errors import Violation
from servicekit.rpc.status import CODES
from tests.support.bridges import Fault, RunningBridge, aborts, bridge_client, hangs, refuses, running_bridge

Code = grpc.StatusCode
R = BridgeReason
CONNECTOR = Connector("client_of_this_test", "kraken", "kraken", Environment.LIVE, 1)
PERMANENT = {R.CREDENTIALS_REJECTED, R.CREDENTIALS_INCOMPLETE, R.EXCHANGE_UNSUPPORTED}

BY_TRANSPORT = dict.fromkeys(set(Code) - {Code.OK}, R.BRIDGE_ERROR) | {
    Code.UNAVAILABLE: R.BRIDGE_UNAVAILABLE,
    Code.CANCELLED: R.BRIDGE_UNAVAILABLE,
    Code.INTERNAL: R.BRIDGE_UNAVAILABLE,
    Code.UNKNOWN: R.BRIDGE_UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: R.BRIDGE_TIMEOUT,
}
# Errors of our tree with reasons that no other row has.
BY_OUR_CODE = dict.fromkeys(CODES, R.BRIDGE_ERROR) | {
    errors.Unavailable: R.EXCHANGE_UNAVAILABLE,
    errors.DeadlineExceeded: R.EXCHANGE_UNAVAILABLE,
    errors.ResourceExhausted: R.RATE_LIMITED,
}
BY_OUR_REASON = [
    (errors.FailedPrecondition("", reason="CREDENTIALS_REJECTED"), R.CREDENTIALS_REJECTED),
    (errors.FailedPrecondition("", reason="EXCHANGE_UNSUPPORTED"), R.EXCHANGE_UNSUPPORTED),
    (errors.FailedPrecondition("", reason="SANDBOX_UNSUPPORTED"), R.EXCHANGE_UNSUPPORTED),
    (errors.FailedPrecondition("", reason="NOT_SUPPORTED"), R.EXCHANGE_UNSUPPORTED),
    (errors.DeadlineExceeded("", reason="DEADLINE_EXCEEDED"), R.BRIDGE_TIMEOUT),
    (errors.DeadlineExceeded("", reason="DEADLINE_TOO_SHORT"), R.BRIDGE_TIMEOUT),
    (errors.DeadlineExceeded("", reason="REQUEST_NOT_SENT"), R.BRIDGE_TIMEOUT),
    (errors.DeadlineExceeded("", reason="EXCHANGE_TIMEOUT"), R.EXCHANGE_UNAVAILABLE),
    (errors.Unavailable("", reason="SHUTTING_DOWN"), R.BRIDGE_UNAVAILABLE),
    (errors.Unavailable("", reason="STARTING"), R.BRIDGE_UNAVAILABLE),
    (errors.Unavailable("", reason="UNAVAILABLE"), R.BRIDGE_UNAVAILABLE),
    (errors.Unavailable("", reason="CLOCK_SKEW"), R.EXCHANGE_UNAVAILABLE),
    (errors.ResourceExhausted("", reason="TOO_MANY_CALLS"), R.BRIDGE_UNAVAILABLE),
    (errors.ResourceExhausted("", reason="TOO_MANY_CALLS_OF_ONE"), R.BRIDGE_UNAVAILABLE),
    (errors.ResourceExhausted("", reason="RATE_EXCEEDED"), R.BRIDGE_UNAVAILABLE),
    (errors.FailedPrecondition("", reason="EXCHANGE_ERROR"), R.BRIDGE_ERROR),
]


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


async def pushed(far: RunningBridge, bridge: Bridge, fault: Fault, seconds: float = 20) -> Outcome:
    """What a push comes to when this happens to it."""
    far.faults.before["AddConnector"] = fault
    credentials = Credentials(api_key=secrets.token_hex(16), api_secret=secrets.token_hex(32))
    return await bridge.push(CONNECTOR, credentials, verify=False, timeout=timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("code", "reason"), sorted(BY_TRANSPORT.items(), key=str), ids=lambda each: each.name
)
async def test_a_status_that_the_bridge_did_not_make(
    far: RunningBridge, bridge: Bridge, code: grpc.StatusCode, reason: BridgeReason
) -> None:
    outcome = await pushed(far, bridge, aborts(code))
    assert outcome.reason is reason
    assert not outcome.permanent
    assert not outcome.instance_id
    # Only that nobody is there trips the breaker.
    assert bridge.is_away(CONNECTOR.account_name) == (code in (Code.UNAVAILABLE, Code.CANCELLED))


@pytest.mark.parametrize(
    ("error", "reason"), BY_OUR_CODE.items(), ids=[error.__name__ for error in BY_OUR_CODE]
)
async def test_a_status_that_the_bridge_made(
    far: RunningBridge, bridge: Bridge, error: type[errors.KeybridgeError], reason: BridgeReason
) -> None:
    outcome = await pushed(far, bridge, refuses(error("No.", reason="OF_A_LATER_CONTRACT")))
    assert outcome.reason is reason
    assert outcome.code == CODES[error].name
    assert not outcome.permanent
    assert not bridge.is_away(CONNECTOR.account_name)


@pytest.mark.parametrize(
    ("error", "reason"), BY_OUR_REASON, ids=lambda each: getattr(each, "reason", None) or each.name
)
async def test_a_reason_that_says_more_than_its_code(
    far: RunningBridge, bridge: Bridge, error: errors.KeybridgeError, reason: BridgeReason
) -> None:
    outcome = await pushed(far, bridge, refuses(error))
    assert outcome.reason is reason
    assert outcome.permanent == (reason in PERMANENT)
    assert not bridge.is_away(CONNECTOR.account_name)


def test_every_reason_of_the_table_is_driven_over_the_socket() -> None:
    assert BY_REASON.keys() <= {error.reason for error, _ in BY_OUR_REASON}


async def test_a_missing_credential_is_told_from_other_malformed_requests(
    far: RunningBridge, bridge: Bridge
) -> None:
    incomplete = errors.InvalidArgument(
        "No.", violations=[Violation("credentials.passphrase", "is required")]
    )
    outcome = await pushed(far, bridge, refuses(incomplete))
    assert (outcome.reason, outcome.permanent) == (R.CREDENTIALS_INCOMPLETE, True)
    other = errors.InvalidArgument("No.", violations=[Violation("revision", "is required")])
    assert (await pushed(far, bridge, refuses(other))).reason is R.BRIDGE_ERROR


async def test_the_time_that_an_exchange_names_is_handed_on(far: RunningBridge, bridge: Bridge) -> None:
    wait = timedelta(seconds=42)
    limited = errors.ResourceExhausted("Wait.", reason="RATE_LIMITED", retry_after=wait)
    outcome = await pushed(far, bridge, refuses(limited))
    assert (outcome.reason, outcome.retry_after) == (R.RATE_LIMITED, wait)


@pytest.mark.parametrize(
    "error",
    [errors.Aborted("No.", reason="STALE_REVISION"), errors.AlreadyExists("No.", reason="REVISION_REUSED")],
    ids=lambda error: error.reason,
)
async def test_a_revision_that_is_used_up_is_told_as_stale(
    far: RunningBridge, bridge: Bridge, error: errors.KeybridgeError
) -> None:
    outcome = await pushed(far, bridge, refuses(error))
    assert outcome.stale
    assert not outcome.permanent


@pytest.mark.parametrize("reason", ["CONNECTOR_NOT_FOUND", "ACCOUNT_NOT_FOUND"])
async def test_what_the_bridge_does_not_hold_is_told_as_missing(
    far: RunningBridge, bridge: Bridge, reason: str
) -> None:
    assert (await bridge.verify(CONNECTOR, timeout=timedelta(seconds=20))).missing
    assert await bridge.connectors("client_of_this_test", timeout=timedelta(seconds=20)) == []
    assert (await pushed(far, bridge, refuses(errors.NotFound("No.", reason=reason)))).missing


async def test_a_bridge_that_hangs_is_a_timeout_and_one_alone_says_nothing_of_it(
    far: RunningBridge, bridge: Bridge
) -> None:
    assert (await pushed(far, bridge, hangs, seconds=0.1)).reason is R.BRIDGE_TIMEOUT
    assert not bridge.is_away(CONNECTOR.account_name)
    assert (await pushed(far, bridge, hangs, seconds=0)).reason is R.BRIDGE_TIMEOUT


async def test_a_bridge_that_acted_and_died_before_it_said_so_is_no_acknowledgement(
    far: RunningBridge, bridge: Bridge
) -> None:
    far.faults.after["AddConnector"] = aborts(Code.UNAVAILABLE)
    credentials = Credentials(api_key=secrets.token_hex(16), api_secret=secrets.token_hex(32))
    outcome = await bridge.push(CONNECTOR, credentials, verify=False, timeout=timedelta(seconds=20))
    assert outcome.reason is R.BRIDGE_UNAVAILABLE
    assert far.held()
