"""The matrix: every method of both contracts, and every way of not being the one who may call it.

The methods are those of the descriptors, so a new one is in it by itself. Wherever a refusal does not depend on what
is asked, what is sent is no request at all: who gets the refusal of the table was refused before it was read.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import time
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from grpc import StatusCode

from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from servicekit.rpc.client import ClientTls, connect
from servicekit.rpc.policy import ROLES
from servicekit.rpc.status import RpcFailure
from tests.services.authorisation.guarded import GONE, REVOKED, Guarded
from tests.support.contracts import GARBAGE, Things, about, admitted, call, tenant_fields
from tests.support.issuer import Issuer, bearing, tampered
from tests.support.probe import plain_channel
from tests.support.tls_versions import only, version_of

LADDER = ["reader", "trader", "operator", "admin"]
AT_A_TIME = 8
MINUTE = 60
DOCUMENT = Path(__file__).parents[3] / "docs" / "authentication.md"

Metadata = tuple[tuple[str, str], ...]
Outcome = tuple[StatusCode, str | None]
"""The status, and the reason where the service gave it and not the transport."""

UNAUTHENTICATED, PERMISSION_DENIED = StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED
NO_CONNECTION: Outcome = (StatusCode.UNAVAILABLE, None)
READ_BUT_NO_REQUEST: Outcome = (StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
NOT_BUILT: Outcome = (StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")


def token(role: str, guarded: Guarded, **claims: Any) -> str:
    return guarded.issuer.token(**{"role": role, "aud": guarded.name} | claims)


def forged(issuer: Issuer) -> Issuer:
    """Somebody who signs with a key of his own under the name of ours."""
    other = Issuer(issuer.algorithm)
    other.key_id = issuer.key_id
    return other


def other_service(guarded: Guarded) -> str:
    return "bridgeservice" if guarded.name == "keyservice" else "keyservice"


# What a caller brings who has the right role, but for one thing; and what he is told.
TOKENS: dict[str, tuple[Callable[[Guarded, str], Metadata], Outcome]] = {
    "no credentials": (lambda _, __: (), (UNAUTHENTICATED, "CREDENTIALS_MISSING")),
    "another scheme": (
        lambda _, __: (("authorization", "Basic YTpi"),),
        (UNAUTHENTICATED, "CREDENTIALS_MALFORMED"),
    ),
    "two tokens": (
        lambda guarded, role: bearing(token(role, guarded)) * 2,
        (UNAUTHENTICATED, "CREDENTIALS_MALFORMED"),
    ),
    "bad signature": (
        lambda guarded, role: bearing(tampered(token(role, guarded))),
        (UNAUTHENTICATED, "TOKEN_INVALID"),
    ),
    "wrong key": (
        lambda guarded, role: bearing(forged(guarded.issuer).token(role=role, aud=guarded.name)),
        (UNAUTHENTICATED, "TOKEN_INVALID"),
    ),
    "unknown key": (
        lambda guarded, role: bearing(Issuer().token(role=role, aud=guarded.name)),
        (UNAUTHENTICATED, "TOKEN_INVALID"),
    ),
    "alg none": (
        lambda guarded, role: bearing(guarded.issuer.unsigned(role=role, aud=guarded.name)),
        (UNAUTHENTICATED, "TOKEN_INVALID"),
    ),
    "alg swapped": (
        lambda guarded, role: bearing(guarded.issuer.swapped(role=role, aud=guarded.name)),
        (UNAUTHENTICATED, "TOKEN_INVALID"),
    ),
    "expired": (
        lambda guarded, role: bearing(token(role, guarded, exp=time() - MINUTE)),
        (UNAUTHENTICATED, "TOKEN_EXPIRED"),
    ),
    "not yet valid": (
        lambda guarded, role: bearing(token(role, guarded, nbf=time() + MINUTE)),
        (UNAUTHENTICATED, "TOKEN_NOT_YET_VALID"),
    ),
    "wrong audience": (
        lambda guarded, role: bearing(token(role, guarded, aud=other_service(guarded))),
        (UNAUTHENTICATED, "TOKEN_NOT_FOR_THIS_SERVICE"),
    ),
    "wrong issuer": (
        lambda guarded, role: bearing(token(role, guarded, iss="somebody else")),
        (UNAUTHENTICATED, "TOKEN_NOT_FOR_THIS_SERVICE"),
    ),
    "a role that there is not": (
        lambda guarded, _: bearing(token("root", guarded)),
        (UNAUTHENTICATED, "TOKEN_CLAIMS_INVALID"),
    ),
    "clients unsaid": (
        lambda guarded, role: bearing(token(role, guarded, without=("clients",))),
        (UNAUTHENTICATED, "TOKEN_CLAIMS_INVALID"),
    ),
    "revoked": (
        lambda guarded, role: bearing(token(role, guarded, jti=REVOKED)),
        (UNAUTHENTICATED, "TOKEN_REVOKED"),
    ),
    "revoked by its subject": (
        lambda guarded, role: bearing(token(role, guarded, sub=GONE)),
        (UNAUTHENTICATED, "TOKEN_REVOKED"),
    ),
}


async def each(
    methods: Sequence[MethodDescriptor], outcome: Callable[[MethodDescriptor], Awaitable[Outcome]]
) -> dict[str, Outcome]:
    """How it ends for each method, some at a time."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(method: MethodDescriptor) -> Outcome:
        async with places:
            return await outcome(method)

    return dict(zip((each.name for each in methods), await asyncio.gather(*map(one, methods)), strict=True))


def outcome_of(answer: list[bytes] | RpcFailure) -> Outcome:
    return (answer.code, answer.reason) if isinstance(answer, RpcFailure) else (StatusCode.OK, None)


async def sent(
    channel: grpc.aio.Channel, method: MethodDescriptor, metadata: Metadata = (), raw: bytes = GARBAGE
) -> Outcome:
    return outcome_of(await call(channel, method, raw, metadata))


def wrong(outcomes: dict[str, Outcome], *expected: Outcome) -> dict[str, Outcome]:
    """Those that are not as the table says: to be none."""
    return {name: outcome for name, outcome in outcomes.items() if outcome not in expected}


@pytest.mark.parametrize("row", TOKENS)
async def test_no_method_admits_a_caller_whose_token_is_not_good(guarded: Guarded, row: str) -> None:
    brings, expected = TOKENS[row]
    async with guarded.by_token() as channel:
        outcomes = await each(
            guarded.methods, lambda method: sent(channel, method, brings(guarded, admitted(method)[0]))
        )
    assert wrong(outcomes, expected) == {}


def may_call(role: str, method: MethodDescriptor) -> bool:
    """As the contract has it, worked out here once more."""
    named = admitted(method)
    if role not in LADDER:
        return role in named
    return any(LADDER.index(role) >= LADDER.index(least) for least in named if least in LADDER)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_what_the_contract_says_and_nothing_else(guarded: Guarded, role: str) -> None:
    """Who may call is told that what he sent is no request: so everybody else was refused before it was read."""
    mine, others = [
        [method for method in guarded.methods if may_call(role, method) is may] for may in (True, False)
    ]
    brings = bearing(token(role, guarded))
    async with guarded.by_token() as tokens, guarded.by_certificate(role) as certificates:
        for channel, metadata in ((tokens, brings), (certificates, ())):
            outcomes = await each(others, lambda method: sent(channel, method, metadata))  # noqa: B023
            assert wrong(outcomes, (PERMISSION_DENIED, "ROLE_NOT_ALLOWED")) == {}
            outcomes = await each(mine, lambda method: sent(channel, method, metadata))  # noqa: B023
            assert wrong(outcomes, READ_BUT_NO_REQUEST, NOT_BUILT) == {}


async def test_only_the_bridge_writer_may_add_and_remove_connectors(guarded: Guarded) -> None:
    writers = {method.name for method in guarded.methods if admitted(method) == ["bridge-writer"]}
    assert writers == ({"AddConnector", "RemoveConnector"} if guarded.name == "bridgeservice" else set())


async def test_a_certificate_of_a_name_that_stands_for_nobody_opens_no_method(guarded: Guarded) -> None:
    async with guarded.by_certificate("another name") as channel:
        outcomes = await each(guarded.methods, lambda method: sent(channel, method))
    assert wrong(outcomes, (UNAUTHENTICATED, "CERTIFICATE_UNKNOWN")) == {}


Connect = Callable[[Guarded], AbstractAsyncContextManager[grpc.aio.Channel]]

# The ways in which there is not even a connection.
CONNECTIONS: dict[str, Connect] = {
    "wrong CA": lambda guarded: guarded.by_certificate("strange"),
    "expired certificate": lambda guarded: guarded.by_certificate("expired"),
    "no certificate": lambda guarded: connect(
        f"localhost:{guarded.certificates.port}", tls=ClientTls(guarded.ca_file)
    ),
    "plaintext, where certificates are asked for": lambda guarded: plain_channel(guarded.certificates.port),
    "plaintext, where tokens are asked for": lambda guarded: plain_channel(guarded.tokens.port),
}


@pytest.mark.parametrize("row", CONNECTIONS)
async def test_no_method_can_be_called_without_a_connection_that_is_good(guarded: Guarded, row: str) -> None:
    async def alone(method: MethodDescriptor) -> Outcome:
        # With a token too, which does not help; and on a connection of its own, of which nobody has a bad opinion.
        async with CONNECTIONS[row](guarded) as channel:
            return await sent(channel, method, bearing(token(admitted(method)[0], guarded)))

    assert wrong(await each(guarded.methods, alone), NO_CONNECTION) == {}
    assert await answers_on_good_connections(guarded)


async def answers_on_good_connections(guarded: Guarded) -> bool:
    """Whether both ports are served, so that what was refused was not refused by nobody being there."""
    method = next(method for method in guarded.methods if may_call("admin", method))
    async with guarded.by_token() as tokens, guarded.by_certificate("admin") as certificates:
        outcomes = [
            await sent(tokens, method, bearing(token("admin", guarded))),
            await sent(certificates, method),
        ]
    return outcomes == [READ_BUT_NO_REQUEST] * 2


async def test_no_method_can_be_called_in_tls_1_1(guarded: Guarded) -> None:
    """A client that speaks nothing newer gets no further than the handshake, whatever it is about to call."""
    context = only(ssl.TLSVersion.TLSv1_1, guarded.ca_file)
    context.load_cert_chain(guarded.folder / "admin.pem", guarded.folder / "admin.key")

    async def alone(_: MethodDescriptor) -> Outcome:
        spoken = []
        for process in (guarded.tokens, guarded.certificates):
            try:
                spoken.append(await version_of(process.port, context))
            except (ConnectionResetError, ssl.SSLError):
                continue
        return (StatusCode.OK, str(spoken)) if spoken else NO_CONNECTION

    assert wrong(await each(guarded.methods, alone), NO_CONNECTION) == {}
    # The same client gets on with both ports as soon as it may speak one version more.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    spoken = [await version_of(process.port, context) for process in (guarded.tokens, guarded.certificates)]
    assert spoken == ["TLSv1.2", "TLSv1.2"]


# What names somebody's things only to leave out the others: there is then nothing to tell of.
FILTERS = {"ListApiKeys", "WatchApiKeys", "ListAuditEvents", "ReinitializeApiKeys"}
NOT_FOUND = {(StatusCode.NOT_FOUND, f"{what}_NOT_FOUND") for what in ("CLIENT", "API_KEY", "ACCOUNT")}


def expected_of_a_stranger(method: MethodDescriptor) -> set[Outcome]:
    if tenant_fields(method) and method.name not in FILTERS:
        return NOT_FOUND | {NOT_BUILT}
    if tenant_fields(method) or method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        return {(StatusCode.OK, None)}
    return {(PERMISSION_DENIED, "LIMITED_TO_CLIENTS")}


async def test_the_right_role_of_another_tenant_opens_nothing_of_this_one(guarded: Guarded) -> None:
    before = await state(guarded)
    stranger = Things.nobodys()
    leaks: set[str] = set()

    async with guarded.by_token() as channel:

        async def asked(method: MethodDescriptor) -> Outcome:
            brings = bearing(token(admitted(method)[0], guarded, clients=[stranger.client_id]))
            answer = await call(channel, method, about(method, guarded.things).SerializeToString(), brings)
            if not isinstance(answer, RpcFailure) and any(
                mark in part for part in answer for mark in guarded.things.marks()
            ):
                leaks.add(method.name)
            return outcome_of(answer)

        outcomes = await each(guarded.methods, asked)
    unexpected = {
        method.name: outcomes[method.name]
        for method in guarded.methods
        if outcomes[method.name] not in expected_of_a_stranger(method)
    }
    assert (unexpected, leaks) == ({}, set())
    assert await state(guarded) == before


async def state(guarded: Guarded) -> list[Any]:
    """What somebody has, as far as callers can change it."""
    if guarded.name == "bridgeservice":
        [connectors] = [method for method in guarded.methods if method.name == "ListConnectors"]
        raw = about(connectors, guarded.things).SerializeToString()
        async with guarded.by_token() as channel:
            answer = await call(channel, connectors, raw, bearing(token("bridge-writer", guarded)))
        assert isinstance(answer, list), answer
        return answer
    database = Database(DatabaseOptions(url=parse_url(guarded.database), pool_size=1))
    try:
        async with database.transaction() as connection:
            # Attempts to reach the bridge, which is not there, go on meanwhile.
            keys = await connection.exec_driver_sql(
                "SELECT id, revision, secret_version, label, disabled, deleted_at FROM exchange_api_keys"
            )
            clients = await connection.exec_driver_sql("SELECT xmin::text, id FROM clients")
            return [*keys.all(), *clients.all()]
    finally:
        await database.close()


async def test_no_token_is_ever_logged_good_or_bad(guarded: Guarded) -> None:
    good = token("admin", guarded)
    tokens = [good, tampered(good), token("admin", guarded, exp=time() - MINUTE), f"hello {good[::-1]}"]
    async with guarded.by_token() as channel:
        for each_token in tokens:
            await call(channel, guarded.methods[0], GARBAGE, bearing(each_token))
        await call(channel, guarded.methods[0], GARBAGE, (("x-request-id", "the-last-one"),))
    guarded.tokens.wait_for_line('"request_id": "the-last-one"')
    said = guarded.tokens.stderr()
    for each_token in tokens:
        for part in each_token.split("."):
            assert part not in said


def test_every_refusal_of_the_matrix_is_documented() -> None:
    refusals = {expected for _, expected in TOKENS.values()} | NOT_FOUND
    refusals |= {
        (UNAUTHENTICATED, "CERTIFICATE_UNKNOWN"),
        (UNAUTHENTICATED, "CERTIFICATE_EXPIRED"),
        (PERMISSION_DENIED, "ROLE_NOT_ALLOWED"),
        (PERMISSION_DENIED, "LIMITED_TO_CLIENTS"),
    }
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    for code, reason in refusals:
        assert [row for row in rows if f"`{reason}`" in row and code.name in row], reason
