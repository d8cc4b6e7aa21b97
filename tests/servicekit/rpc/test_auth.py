"""Who is let in, over real connections: by a token, by the certificate of the connection, or not at all."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.errors import StartupError
from servicekit.rpc import interceptors
from servicekit.rpc.auth import Authenticated
from servicekit.rpc.certificates import Certificates
from servicekit.rpc.client import Channel, ClientTls, connect
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.policy import ROLES, Policy
from servicekit.rpc.status import RpcFailure, from_rpc_error
from servicekit.rpc.tls import ServerTls
from servicekit.rpc.tokens import TokenOptions, Tokens
from tests.support.certificates import Authority
from tests.support.issuer import Issuer, bearing
from tests.support.probe import Echo, Probe, ProbeStub, failure, plain_channel, quick, raw_call, serving

UNAUTHENTICATED, PERMISSION_DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
GET = "/keybridge.probe.v1.Probe/GetEcho"
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("test authority")


@pytest.fixture
def tokens(tmp_path: Path, issuer: Issuer) -> Tokens:
    issuer.write(tmp_path / "jwks.json")
    (tmp_path / "denied.json").write_text(DenyList().text())
    return Tokens(
        TokenOptions(
            jwks_file=tmp_path / "jwks.json",
            issuer="keybridge",
            audience="keyservice",
            leeway=timedelta(seconds=5),
            deny_list_file=tmp_path / "denied.json",
            look_every=AT_ONCE,
        )
    )


async def refused(call: Any) -> RpcFailure:
    return from_rpc_error(await failure(call))


async def test_a_token_is_taken_for_whom_it_says(tokens: Tokens, issuer: Issuer) -> None:
    probe = Probe()
    async with (
        serving(probe, authorizer=Authenticated(tokens=tokens)) as server,
        plain_channel(server.port) as channel,
    ):
        await ProbeStub(channel).GetEcho(Echo(), metadata=bearing(issuer.token(sub="alice", role="reader")))
        lower = (("authorization", f"bearer {issuer.token()}"),)
        await ProbeStub(channel).GetEcho(Echo(), metadata=lower)
    assert [each.principal.name for each in probe.seen if each.principal] == ["alice", "somebody"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "CREDENTIALS_MISSING"),
        ([""], "CREDENTIALS_MALFORMED"),
        (["Basic YTpi"], "CREDENTIALS_MALFORMED"),
        (["Bearer"], "TOKEN_INVALID"),
        (["Bearer  "], "TOKEN_INVALID"),
        (["Bearer a.b.c"], "TOKEN_INVALID"),
    ],
)
async def test_who_does_not_say_who_he_is_is_refused_before_his_words_are_read(
    tokens: Tokens, values: list[str], reason: str
) -> None:
    probe = Probe()
    async with (
        serving(probe, authorizer=Authenticated(tokens=tokens)) as server,
        plain_channel(server.port) as channel,
    ):
        call: Any = channel.unary_unary(GET)
        told = await refused(call(b"\xff\xff", metadata=tuple(("authorization", value) for value in values)))
    assert (told.code, told.reason) == (UNAUTHENTICATED, reason)
    assert probe.seen == []


async def test_of_two_tokens_none_counts(tokens: Tokens, issuer: Issuer) -> None:
    both = bearing(issuer.token()) + bearing(issuer.token(role="reader"))
    async with (
        serving(authorizer=Authenticated(tokens=tokens)) as server,
        plain_channel(server.port) as channel,
    ):
        told = await refused(ProbeStub(channel).GetEcho(Echo(), metadata=both))
    assert told.reason == "CREDENTIALS_MALFORMED"


async def test_a_role_that_the_contract_does_not_name_is_told_so_before_its_words_are_read(
    tokens: Tokens, issuer: Issuer
) -> None:
    async with (
        serving(authorizer=Authenticated(tokens=tokens)) as server,
        plain_channel(server.port) as channel,
    ):
        call: Any = channel.unary_unary(GET)
        told = await refused(call(b"\xff\xff", metadata=bearing(issuer.token(role="bridge-writer"))))
    assert (told.code, told.reason) == (PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
    assert told.message == "The role bridge-writer may not call GetEcho."
    assert told.metadata == {"role": "bridge-writer", "method": "GetEcho"}


async def test_health_is_for_everybody_unless_a_role_is_set_for_it(tokens: Tokens, issuer: Issuer) -> None:
    request = health_pb2.HealthCheckRequest()
    guarded = quick(health_policy=Policy(frozenset({ROLES["reader"]})))
    for options in (quick(), guarded):
        async with (
            serving(options=options, authorizer=Authenticated(tokens=tokens)) as server,
            plain_channel(server.port) as channel,
        ):
            stub: Any = health_pb2_grpc.HealthStub(channel)
            if options is guarded:
                assert (await refused(stub.Check(request))).reason == "CREDENTIALS_MISSING"
            else:
                await stub.Check(request)
            await stub.Check(request, metadata=bearing(issuer.token()))
            assert (await refused(raw_call(channel, "/no.Such/Method", b""))).reason == "UNKNOWN_METHOD"


async def test_a_stream_ends_when_its_token_is_revoked(
    tokens: Tokens, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptors, "_ASK_AGAIN", timedelta(milliseconds=20))
    async with (
        serving(authorizer=Authenticated(tokens=tokens)) as server,
        plain_channel(server.port) as channel,
    ):
        watch = ProbeStub(channel).WatchEcho(Echo(), metadata=bearing(issuer.token(jti="one")))
        await watch.read()
        (tmp_path / "denied.json").write_text(DenyList().with_token("one").text())
        told = await refused(read_on(watch))
    assert (told.code, told.reason) == (UNAUTHENTICATED, "TOKEN_REVOKED")


async def read_on(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


class Mutual:
    """The files of a server that asks for client certificates, and a client's."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        self.principals_file = folder / "principals.json"
        authority.write(folder / "ca.pem")
        authority.issue("localhost").write(folder / "server.pem", folder / "server.key")
        self.tls = ServerTls(folder / "server.pem", folder / "server.key", folder / "ca.pem")
        self.grant("reader", "URI:spiffe://example/client")

    def grant(self, role: str, *names: str) -> None:
        self.principals_file.write_text(json.dumps({name: {"role": role, "clients": "*"} for name in names}))

    def client(self, name: str, uri: str | None = None) -> ClientTls:
        self.authority.issue(name, uri).write(self.folder / "client.pem", self.folder / "client.key")
        return ClientTls(
            self.folder / "ca.pem", self.folder / "client.pem", self.folder / "client.key", "localhost"
        )

    @asynccontextmanager
    async def channel(
        self, tls: ClientTls, probe: Probe, tokens: Tokens | None = None, **options: Any
    ) -> AsyncIterator[Channel]:
        certificates = Certificates(self.principals_file, look_every=AT_ONCE, **options)
        authorizer = Authenticated(tokens=tokens, certificates=certificates)
        async with (
            serving(probe, quick(tls=self.tls), authorizer=authorizer) as server,
            connect(f"127.0.0.1:{server.port}", tls=tls) as channel,
        ):
            yield channel


@pytest.fixture
def mutual(tmp_path: Path, authority: Authority) -> Mutual:
    return Mutual(tmp_path, authority)


@pytest.mark.parametrize(
    ("granted", "name", "uri"),
    [
        ("URI:spiffe://example/client", "client", "spiffe://example/client"),
        ("DNS:Client.example", "client.EXAMPLE", None),
        ("DNS:client.example", "client.example", "spiffe://example/nobody"),
    ],
)
async def test_a_certificate_stands_for_whom_the_file_says(
    mutual: Mutual, granted: str, name: str, uri: str | None
) -> None:
    mutual.grant("reader", granted)
    probe = Probe()
    async with mutual.channel(mutual.client(name, uri), probe) as channel:
        await channel.stub(ProbeStub).GetEcho(Echo())
    [call] = probe.seen
    assert call.principal is not None
    assert (call.principal.name.lower(), call.principal.role) == (granted.lower(), ROLES["reader"])


@pytest.mark.parametrize(
    "granted",
    [
        ["URI:spiffe://example/another"],
        ["DNS:spiffe://example/client"],  # a name of another kind
        ["URI:client.example"],
        ["DNS:127.0.0.1"],
        ["DNS:example"],
        ["URI:spiffe://example/client", "DNS:client.example"],  # which of the two is he?
        [],
    ],
)
async def test_a_certificate_that_stands_for_nobody_is_refused(mutual: Mutual, granted: list[str]) -> None:
    mutual.grant("reader", *granted)
    probe = Probe()
    async with mutual.channel(mutual.client("client.example", "spiffe://example/client"), probe) as channel:
        told = await refused(channel.stub(ProbeStub).GetEcho(Echo()))
    assert (told.code, told.reason, probe.seen) == (UNAUTHENTICATED, "CERTIFICATE_UNKNOWN", [])


async def test_a_change_of_the_file_counts_on_a_connection_that_is_there(mutual: Mutual) -> None:
    async with mutual.channel(mutual.client("client", "spiffe://example/client"), Probe()) as channel:
        stub = channel.stub(ProbeStub)
        await stub.GetEcho(Echo())
        mutual.grant("bridge-writer", "URI:spiffe://example/client")
        assert (await refused(stub.GetEcho(Echo()))).reason == "ROLE_NOT_ALLOWED"
        mutual.grant("reader")
        assert (await refused(stub.GetEcho(Echo()))).reason == "CERTIFICATE_UNKNOWN"


async def test_a_connection_does_not_outlive_its_certificate(mutual: Mutual) -> None:
    now = time()
    tls = mutual.client("client", "spiffe://example/client")
    async with mutual.channel(tls, Probe(), clock=lambda: now) as channel:
        stub = channel.stub(ProbeStub)
        await stub.GetEcho(Echo())
        now += 3601
        assert (await refused(stub.GetEcho(Echo()))).reason == "CERTIFICATE_EXPIRED"


async def test_few_certificates_are_remembered(mutual: Mutual, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.rpc.certificates._MOST_REMEMBERED", 1)
    certificates = Certificates(mutual.principals_file)
    for _ in range(3):
        mutual.client("client", "spiffe://example/client")
        pem = (mutual.folder / "client.pem").read_bytes()
        certificates.principal({"peer_uri": [b"spiffe://example/client"], "x509_pem_cert": [pem]})
    assert len(certificates._ends) == 1


async def test_a_token_counts_before_the_certificate_also_where_it_is_refused(
    mutual: Mutual, tokens: Tokens, issuer: Issuer
) -> None:
    probe = Probe()
    tls = mutual.client("client", "spiffe://example/client")
    async with mutual.channel(tls, probe, tokens) as channel:
        stub = channel.stub(ProbeStub)
        await stub.GetEcho(Echo())
        await stub.GetEcho(Echo(), metadata=bearing(issuer.token(sub="alice")))
        told = await refused(stub.GetEcho(Echo(), metadata=bearing("a.b.c")))
    assert [each.principal.name for each in probe.seen if each.principal] == [
        "URI:spiffe://example/client",
        "alice",
    ]
    assert told.reason == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "it should be a JSON object"),
        ('{"client": {"role": "reader", "clients": "*"}}', "client should begin with URI: or DNS:"),
        ('{"DNS:a": {"role": "reader"}}', 'DNS:a should have a "role" and "clients", and nothing else'),
        ('{"DNS:a": {"role": "reader", "clients": "*", "x": 1}}', 'DNS:a should have a "role" and "clients"'),
        ('{"DNS:a": "reader"}', 'DNS:a should have a "role" and "clients"'),
        ('{"DNS:a": {"role": "root", "clients": "*"}}', "of DNS:a, the role should be one of"),
        ('{"DNS:a": {"role": "reader", "clients": "all"}}', "of DNS:a, clients should be"),
    ],
)
def test_a_file_of_principals_that_is_not_clear_stops_the_start(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "principals.json").write_text(text)
    with pytest.raises(StartupError, match=sentence):
        Certificates(tmp_path / "principals.json")
