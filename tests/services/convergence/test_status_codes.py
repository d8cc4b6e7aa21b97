"""The table goes on: whatever status the bridge answers a push or a removal with, as the transport makes it and in our
own words, callers hear the truth and no error, every key is kept, and then the bridge holds exactly what it should.

Two processes, and between them a relay that answers in the place of the bridge. A client's keys for every row.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit import errors
from servicekit.database.url import DatabaseUrl
from servicekit.errors import Violation
from tests.services.convergence.changes import PERMANENT, PUSHES, Subjects, advice, expected
from tests.services.convergence.stage import LOOKS, Stage, longest_pause, until_reachable
from tests.support.probe import plain_channel
from tests.support.relay import Answer, Relay
from tests.support.service_process import PATIENCE, StartService, raw_url

if TYPE_CHECKING:
    from keyservice.v1.key_service_pb2_grpc import KeyServiceAsyncStub

Code = grpc.StatusCode
METHODS = ("AddConnector", "RemoveConnector")
A_MOMENT = timedelta(seconds=1)

# How the transport, or something in between, answers; and what callers hear of it.
BY_TRANSPORT = {
    Code.CANCELLED: "BRIDGE_UNAVAILABLE",
    Code.UNKNOWN: "BRIDGE_UNAVAILABLE",
    Code.INVALID_ARGUMENT: "BRIDGE_ERROR",
    Code.DEADLINE_EXCEEDED: "BRIDGE_TIMEOUT",
    Code.NOT_FOUND: "BRIDGE_ERROR",
    Code.ALREADY_EXISTS: "BRIDGE_ERROR",
    Code.PERMISSION_DENIED: "BRIDGE_ERROR",
    Code.RESOURCE_EXHAUSTED: "BRIDGE_ERROR",
    Code.FAILED_PRECONDITION: "BRIDGE_ERROR",
    Code.ABORTED: "BRIDGE_ERROR",
    Code.OUT_OF_RANGE: "BRIDGE_ERROR",
    Code.UNIMPLEMENTED: "BRIDGE_ERROR",
    Code.INTERNAL: "BRIDGE_UNAVAILABLE",
    Code.UNAVAILABLE: "BRIDGE_UNAVAILABLE",
    Code.DATA_LOSS: "BRIDGE_ERROR",
    Code.UNAUTHENTICATED: "BRIDGE_ERROR",
}
# How the bridge itself refuses.
BY_BRIDGE: Sequence[tuple[errors.KeybridgeError, str]] = (
    (errors.FailedPrecondition("No.", reason="CREDENTIALS_REJECTED"), "CREDENTIALS_REJECTED"),
    (
        errors.InvalidArgument("No.", violations=[Violation("credentials.passphrase", "is required")]),
        "CREDENTIALS_INCOMPLETE",
    ),
    (errors.FailedPrecondition("No.", reason="EXCHANGE_UNSUPPORTED"), "EXCHANGE_UNSUPPORTED"),
    (errors.ResourceExhausted("No.", reason="RATE_LIMITED", retry_after=A_MOMENT), "RATE_LIMITED"),
    (errors.Unavailable("No.", reason="EXCHANGE_UNAVAILABLE"), "EXCHANGE_UNAVAILABLE"),
    (errors.DeadlineExceeded("No.", reason="EXCHANGE_TIMEOUT"), "EXCHANGE_UNAVAILABLE"),
    (errors.DeadlineExceeded("No.", reason="DEADLINE_TOO_SHORT"), "BRIDGE_TIMEOUT"),
    (errors.Unavailable("No.", reason="SHUTTING_DOWN"), "BRIDGE_UNAVAILABLE"),
    (errors.ResourceExhausted("No.", reason="TOO_MANY_CALLS"), "BRIDGE_UNAVAILABLE"),
    (errors.PermissionDenied("No.", reason="ROLE_NOT_ALLOWED"), "BRIDGE_ERROR"),
    (errors.Unauthenticated("No.", reason="TOKEN_EXPIRED"), "BRIDGE_ERROR"),
    (errors.Internal("No."), "BRIDGE_ERROR"),
)
# What says that nobody is there, or that nobody answers, concerns all accounts: these rows are played by themselves.
ALONE = (Code.UNAVAILABLE, Code.CANCELLED, Code.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class House:
    """Both services, and what stands in between."""

    stage: Stage
    relay: Relay
    stub: "KeyServiceAsyncStub"

    async def play(self, answers: Mapping[str, tuple[Answer, str]]) -> None:
        """Rows of the table: what the bridge answers, and the reason that callers are to hear. Made good together."""
        await until_reachable(self.stub)
        subjects = {name: await Subjects.prepare(self.stub) for name in answers}
        for name, (answer, reason) in answers.items():
            self.relay.answer(METHODS, subjects[name].account, answer)
            heard = await subjects[name].change_all()
            assert {change: each.said for change, each in heard.items()} == {
                change: expected(change, reason) for change in heard
            }, name
            for change, each in heard.items():
                assert all(words in each.warning for words in advice(change, reason)), (name, each.warning)
            await subjects[name].require_kept(self.stage, [reason])
        self.relay.answers.clear()
        for name, (_, reason) in answers.items():
            if reason in PERMANENT:
                await self._help(subjects[name])
        await self.stage.until_matched(await longest_pause(self.stage) + LOOKS)

    async def _help(self, subjects: Subjects) -> None:
        """What no retry helps is left alone, until somebody does as he was told."""
        for change in PUSHES:
            request = pb.ReinitializeApiKeyRequest(api_key_id=subjects.keys[change].id)
            answer = await self.stub.ReinitializeApiKey(request)
            assert answer.trading_bridge_configured, answer


@pytest.fixture
async def house(database_url: DatabaseUrl, start_service: StartService) -> AsyncIterator[House]:
    async with Stage.on(raw_url(database_url), start_service) as stage:
        bridge = await stage.start_bridge()
        async with Relay(lambda _account: bridge.address) as relay:
            service = await stage.start_keyservice(
                relay.address, KEYSERVICE_INLINE_BRIDGE_WAIT=f"{PATIENCE:g}s"
            )
            async with plain_channel(service.port) as channel:
                yield House(stage, relay, KeyServiceStub(channel))


async def test_every_status_is_told_for_what_it_is_and_made_good(house: House) -> None:
    assert BY_TRANSPORT.keys() == set(Code) - {Code.OK}
    together = {
        f"{code.name} of the transport": (Answer(code), reason)
        for code, reason in BY_TRANSPORT.items()
        if code not in ALONE
    }
    together |= {error.reason: (Answer.of(error), reason) for error, reason in BY_BRIDGE}
    await house.play(together)
    for code in ALONE:
        await house.play({code.name: (Answer(code), BY_TRANSPORT[code])})
