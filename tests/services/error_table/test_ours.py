"""The error table's rows of our own errors, and of what nobody foresaw."""

import io
import secrets
from datetime import timedelta
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from servicekit import errors
from servicekit.rpc.call import Call
from tests.support.logged import lines
from tests.support.probe import (
    Echo,
    Probe,
    ProbeStub,
    failure,
    plain_channel,
    serving,
)
from tests.support.statuses import INTERNAL, REQUEST_ID, decoded, raises, retry, status, told

TREE = {
    errors.InvalidArgument: "INVALID_ARGUMENT",
    errors.NotFound: "NOT_FOUND",
    errors.AlreadyExists: "ALREADY_EXISTS",
    errors.FailedPrecondition: "FAILED_PRECONDITION",
    errors.Aborted: "ABORTED",
    errors.Unauthenticated: "UNAUTHENTICATED",
    errors.PermissionDenied: "PERMISSION_DENIED",
    errors.ResourceExhausted: "RESOURCE_EXHAUSTED",
    errors.Unavailable: "UNAVAILABLE",
    errors.DeadlineExceeded: "DEADLINE_EXCEEDED",
    errors.Unimplemented: "UNIMPLEMENTED",
}


def test_the_rows_below_are_all_of_the_tree() -> None:
    assert {*TREE, errors.Internal} == set(errors.KeybridgeError.__subclasses__())


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
@pytest.mark.parametrize("kind", TREE)
async def test_each_error_of_ours_has_its_code_reason_and_facts(
    kind: type[errors.KeybridgeError], method: str
) -> None:
    error = kind("What happened, in a sentence.", reason="ITS_REASON", metadata={"fact": "value"})
    expected = status(TREE[kind], "What happened, in a sentence.", "ITS_REASON", fact="value")
    assert await told(raises(error), method) == expected
    plain = await told(raises(kind("Without a reason.")), method)
    assert plain == status(TREE[kind], "Without a reason.", TREE[kind])


async def test_an_invalid_argument_names_every_field() -> None:
    violations = [errors.Violation("credentials.api_key", "is empty"), errors.Violation("label", "is long")]
    error = errors.InvalidArgument("Two fields are wrong.", violations=violations)
    bad = BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field=each.field, description=each.description) for each in violations
        ]
    )
    assert await told(raises(error)) == status(
        "INVALID_ARGUMENT", "Two fields are wrong.", "INVALID_ARGUMENT", bad
    )


async def test_what_has_to_wait_is_told_how_long() -> None:
    after = timedelta(seconds=7, milliseconds=500)
    error = errors.Unavailable("Not now.", retry_after=after)
    assert await told(raises(error)) == status("UNAVAILABLE", "Not now.", "UNAVAILABLE", retry(after))


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
@pytest.mark.parametrize("kind", [errors.Internal, RuntimeError, KeyError, OSError, TimeoutError])
async def test_what_nobody_foresaw_is_a_request_id_and_no_other_word(
    kind: type[Exception], method: str, output: io.StringIO
) -> None:
    secret = secrets.token_hex()
    assert await told(raises(kind(secret)), method) == INTERNAL
    [logged] = [line for line in lines(output) if line["event"] == "unforeseen error"]
    assert logged["request_id"] == REQUEST_ID
    assert kind.__name__ in str(logged)
    # Our own words are fit for the log; anybody else's may hold a value.
    assert (secret in output.getvalue()) == (kind is errors.Internal)


async def test_an_answer_of_another_type_than_the_contract_s_is_internal() -> None:
    async def answer(_request: Any, _call: Call) -> Any:
        return ErrorInfo()

    async with serving(Probe(answer)) as server, plain_channel(server.port) as channel:
        stub = ProbeStub(channel)
        error = await failure(stub.GetEcho(Echo(), metadata=(("x-request-id", REQUEST_ID),)))
    assert decoded(error) == INTERNAL
