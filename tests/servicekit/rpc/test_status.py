"""Every row of the error table, over a real socket, and the way back into facts."""

import io
import secrets
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from servicekit import errors
from servicekit.rpc.call import Call
from servicekit.rpc.client import connect
from servicekit.rpc.status import CODES, MAX_DETAILS, RpcFailure, code_of, from_rpc_error, to_error, to_status
from tests.support.logged import lines
from tests.support.probe import Echo, Probe, ProbeStub, failure, serving

SIMPLE = [kind for kind in CODES if kind not in (errors.InvalidArgument, errors.Internal)]
VIOLATIONS = (errors.Violation("name", "is empty"), errors.Violation("label", "is too long"))


def raising(error: Exception) -> Probe:
    async def answer(request: Any, call: Call) -> Any:
        raise error

    return Probe(answer)


async def refused(
    error: Exception, method: str = "GetEcho"
) -> tuple[grpc.aio.AioRpcError, status_pb2.Status]:
    """What a caller is told when a handler raises this, as it was on the wire."""
    async with serving(raising(error)) as server, connect(f"127.0.0.1:{server.port}") as channel:
        call = getattr(channel.stub(ProbeStub), method)(Echo(text="x"))
        caught = await failure(call.read() if method == "WatchEcho" else call)
    raw = next(value for key, value in caught.trailing_metadata() if key == "grpc-status-details-bin")
    assert isinstance(raw, bytes)
    return caught, status_pb2.Status.FromString(raw)


def details(status: status_pb2.Status) -> list[Any]:
    unpacked = []
    for each in status.details:
        message = {kind.DESCRIPTOR.full_name: kind for kind in (ErrorInfo, BadRequest, RetryInfo)}[
            each.TypeName()
        ]()
        assert each.Unpack(message)
        unpacked.append(message)
    return unpacked


def retry(seconds: int) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromSeconds(seconds)
    return info


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
@pytest.mark.parametrize("kind", SIMPLE)
async def test_each_error_arrives_with_its_code_words_and_reason(kind: Any, method: str) -> None:
    error = kind(
        "It is so, naïvely.", reason="SOME_REASON", metadata={"fact": "7"}, retry_after=timedelta(seconds=9)
    )

    caught, status = await refused(error, method)

    assert caught.code() is CODES[kind]
    assert caught.details() == "It is so, naïvely."
    assert (status.code, status.message) == (CODES[kind].value[0], "It is so, naïvely.")
    info = ErrorInfo(reason="SOME_REASON", domain="keybridge", metadata={"fact": "7"})
    assert details(status) == [info, retry(9)]


@pytest.mark.parametrize("kind", SIMPLE)
async def test_an_error_without_particulars_has_the_reason_of_its_class(kind: Any) -> None:
    _, status = await refused(kind("It is so."))

    assert details(status) == [ErrorInfo(reason=kind.default_reason, domain="keybridge")]


async def test_an_invalid_argument_names_every_violation() -> None:
    caught, status = await refused(errors.InvalidArgument("Two fields are wrong.", violations=VIOLATIONS))

    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert status.message == "Two fields are wrong."
    violations = [
        BadRequest.FieldViolation(field=each.field, description=each.description) for each in VIOLATIONS
    ]
    info = ErrorInfo(reason="INVALID_ARGUMENT", domain="keybridge")
    assert details(status) == [info, BadRequest(field_violations=violations)]


@pytest.mark.parametrize("make", [errors.Internal, RuntimeError, KeyError, OSError, TimeoutError])
@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
async def test_what_nobody_foresaw_says_nothing_but_the_request_id(make: Any, method: str) -> None:
    secret = secrets.token_hex(16)

    caught, status = await refused(make(secret), method)

    [info] = details(status)
    request_id = info.metadata["request_id"]
    assert caught.code() is grpc.StatusCode.INTERNAL
    assert caught.details() == status.message == f"internal error; request id {request_id}"
    assert (info.reason, info.domain) == ("INTERNAL", "keybridge")
    assert secret.encode() not in status.SerializeToString()
    assert dict(caught.trailing_metadata())["x-request-id"] == request_id


NUMBER: Any = 7  # where the types ask for text


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("It is not there.", metadata={"count": NUMBER}),
        errors.NotFound("half of a pair: \ud83d"),
        errors.NotFound("It is not there.", reason="\udcff"),
        errors.NotFound(NUMBER),
        errors.InvalidArgument("Wrong.", violations=[errors.Violation("name", "\udcff")]),
        errors.InvalidArgument("Wrong.", violations=[errors.Violation(NUMBER, "is a number")]),
    ],
)
@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
async def test_an_error_that_does_not_fit_into_a_status_is_an_internal_one_and_is_logged(
    error: Exception, method: str, output: io.StringIO
) -> None:
    caught, status = await refused(error, method)

    assert caught.code() is grpc.StatusCode.INTERNAL
    [info] = details(status)
    assert status.message == caught.details() == f"internal error; request id {info.metadata['request_id']}"
    logged = {line["event"]: line for line in lines(output)}
    assert logged["an error does not fit into a status"]["error"] == type(error).__name__
    assert logged["rpc"]["code"] == "INTERNAL"


LONG = 20_000 * "é"


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound(LONG, reason=LONG, metadata={"fact": LONG, LONG: "fact"}),
        errors.NotFound("No.", metadata={f"fact {number}": LONG for number in range(50)}),
        errors.InvalidArgument(
            LONG, reason=LONG, metadata={"fact": LONG}, violations=[errors.Violation(LONG, LONG)] * 9
        ),
    ],
)
async def test_an_error_that_is_too_long_is_cut_to_what_a_client_takes(error: errors.KeybridgeError) -> None:
    caught, status = await refused(error)

    assert caught.code() is code_of(error)
    told = from_rpc_error(caught)
    assert told.ours
    assert LONG.startswith(told.metadata.get("fact", ""))
    assert all(LONG.startswith(each.field) for each in told.violations)
    assert status.ByteSize() <= MAX_DETAILS


def test_the_first_facts_are_kept_whole() -> None:
    facts = {f"fact {number}": "so it is" for number in range(20)}
    status = to_status(errors.NotFound("No.", metadata={**facts, "last": LONG}), "r-1")

    info = details(status)[0]
    assert facts.items() <= dict(info.metadata).items()


async def test_a_client_reads_our_answer_as_facts() -> None:
    error = errors.ResourceExhausted(
        "Slow down.", reason="RATE", metadata={"a": "b"}, retry_after=timedelta(seconds=2)
    )
    caught, _ = await refused(error)

    assert from_rpc_error(caught) == RpcFailure(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        message="Slow down.",
        reason="RATE",
        metadata={"a": "b"},
        retry_after=timedelta(seconds=2),
    )
    assert from_rpc_error(caught).ours


async def test_a_client_reads_the_violations() -> None:
    caught, _ = await refused(errors.InvalidArgument("Wrong.", violations=VIOLATIONS))

    assert from_rpc_error(caught).violations == VIOLATIONS
    assert from_rpc_error(caught).retry_after is None


@pytest.mark.parametrize("kind", SIMPLE)
async def test_each_error_can_be_made_again_where_it_arrives(kind: Any) -> None:
    sent = kind("Words.", reason="R", metadata={"a": "b"}, retry_after=timedelta(seconds=3))

    caught, _ = await refused(sent)

    made = to_error(from_rpc_error(caught))
    assert type(made) is kind
    assert vars(made) == vars(sent)


async def test_violations_are_made_again_too_and_what_our_tree_has_not_is_internal() -> None:
    caught, _ = await refused(errors.InvalidArgument("Wrong.", violations=VIOLATIONS))

    made = to_error(from_rpc_error(caught))
    assert isinstance(made, errors.InvalidArgument)
    assert made.violations == VIOLATIONS
    assert type(to_error(RpcFailure(grpc.StatusCode.DATA_LOSS, "lost"))) is errors.Internal
    assert to_error(RpcFailure(grpc.StatusCode.UNAVAILABLE, "away")).reason == "UNAVAILABLE"


def foreign(
    *metadata: tuple[str, str | bytes], code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
) -> RpcFailure:
    return from_rpc_error(grpc.aio.AioRpcError(code, None, grpc.aio.Metadata(*metadata), "away"))


def packed(code: grpc.StatusCode, info: ErrorInfo) -> bytes:
    status = status_pb2.Status(code=code.value[0], message="away")
    status.details.add().Pack(info)
    return bytes(status.SerializeToString())


def broken_detail() -> bytes:
    status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0])
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    return bytes(status.SerializeToString())


def test_a_cancellation_that_nobody_here_asked_for_is_an_unavailable_server() -> None:
    assert foreign(code=grpc.StatusCode.CANCELLED) == RpcFailure(grpc.StatusCode.UNAVAILABLE, "away")


OURS = ErrorInfo(reason="R", domain="keybridge")


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("other", "value"),),
        (("grpc-status-details-bin", b"\xff\xff"),),
        (("grpc-status-details-bin", packed(grpc.StatusCode.NOT_FOUND, OURS)),),
        (
            (
                "grpc-status-details-bin",
                packed(grpc.StatusCode.UNAVAILABLE, ErrorInfo(reason="R", domain="else")),
            ),
        ),
        (("grpc-status-details-bin", broken_detail()),),
    ],
    ids=["nothing", "other", "noise", "another code", "another domain", "broken detail"],
)
def test_an_answer_that_is_not_ours_is_not_taken_for_ours(
    metadata: tuple[tuple[str, str | bytes], ...],
) -> None:
    assert foreign(*metadata) == RpcFailure(code=grpc.StatusCode.UNAVAILABLE, message="away")
    assert not foreign(*metadata).ours


async def test_the_transport_s_own_failure_is_not_ours() -> None:
    async with connect("127.0.0.1:1") as channel:
        caught = await failure(channel.stub(ProbeStub).GetEcho(Echo(), timeout=5))

    assert caught.code() is grpc.StatusCode.UNAVAILABLE
    assert not from_rpc_error(caught).ours


async def test_a_thousand_violations_still_fit_into_a_client_s_headers() -> None:
    many = [errors.Violation(f"field{number}", "is wrong " * 5) for number in range(1000)]

    caught, _ = await refused(errors.InvalidArgument("é" * 5000, violations=many))

    told = from_rpc_error(caught)
    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told.violations == tuple(many[: len(told.violations)])
    assert len(told.violations) > 10


def test_one_violation_is_told_and_cut_where_it_is_too_long() -> None:
    error = errors.InvalidArgument("Wrong.", violations=[errors.Violation("name", "x" * 5000)])

    status = to_status(error, "id")

    assert len(status.details) == 2
    assert status.ByteSize() < 4096


def test_a_subclass_has_the_code_of_its_class() -> None:
    class Gone(errors.NotFound):
        default_reason = "GONE"

    class Odd(errors.KeybridgeError):
        default_reason = "ODD"

    assert code_of(Gone("It is gone.")) is grpc.StatusCode.NOT_FOUND
    assert code_of(Odd("It is odd.")) is grpc.StatusCode.INTERNAL


def test_the_table_has_every_error_of_the_tree() -> None:
    assert set(CODES) == set(errors.KeybridgeError.__subclasses__()) - {
        kind for kind in errors.KeybridgeError.__subclasses__() if kind.__module__ != errors.__name__
    }
