"""Both services as a deployment guards them: real processes behind TLS, one taking tokens, one client certificates.

Somebody's things are in each, which nobody else may touch.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from bridgeservice.v1 import trading_bridge_pb2 as bridge_pb
from bridgeservice.v1.trading_bridge_pb2_grpc import TradingBridgeStub
from keyservice.v1 import key_service_pb2 as key_pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.rpc.client import ClientTls, connect
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.policy import ROLES
from tests.support.certificates import Authority
from tests.support.contracts import CONTRACTS, Things
from tests.support.issuer import Issuer, bearing
from tests.support.key_service import NOBODY
from tests.support.postgres import ThrowAwayPostgres
from tests.support.service_process import ServiceProcess, StartService

REVOKED = "a token that was revoked"
GONE = "somebody who is gone"


def uri_of(role: str) -> str:
    """What the certificate of a principal of this role says."""
    return f"spiffe://example/{role}"


@dataclass(frozen=True)
class Guarded:
    """One of the services, in both guises."""

    name: str
    issuer: Issuer
    authority: Authority
    folder: Path
    tokens: ServiceProcess
    certificates: ServiceProcess
    things: Things
    database: str

    @property
    def methods(self) -> list[MethodDescriptor]:
        return list(CONTRACTS[self.name].methods)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @asynccontextmanager
    async def by_token(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to where tokens are asked for."""
        async with connect(f"localhost:{self.tokens.port}", tls=ClientTls(self.ca_file)) as channel:
            yield channel

    @asynccontextmanager
    async def by_certificate(self, name: str) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to where certificates are asked for, with one of those that were issued."""
        own = ClientTls(self.ca_file, self.folder / f"{name}.pem", self.folder / f"{name}.key")
        async with connect(f"localhost:{self.certificates.port}", tls=own) as channel:
            yield channel


def _write_files(folder: Path, issuer: Issuer) -> Authority:
    """All that the services are told of, and the certificates that clients show them."""
    authority, strangers = Authority("ours"), Authority("strangers")
    authority.write(folder / "ca.pem")
    authority.issue("localhost").write(folder / "server.pem", folder / "server.key")
    issuer.write(folder / "jwks.json")
    later = datetime.now(UTC) + timedelta(hours=1)
    denied = DenyList().with_token(REVOKED).with_subject(GONE, later)
    (folder / "denied.json").write_text(denied.text())
    principals = {f"URI:{uri_of(role)}": {"role": role, "clients": "*"} for role in ROLES}
    (folder / "principals.json").write_text(json.dumps(principals))
    for role in ROLES:
        authority.issue("client", uri_of(role)).write(folder / f"{role}.pem", folder / f"{role}.key")
    others = {
        "another name": authority.issue("client", "spiffe://example/another"),
        "expired": authority.issue("client", uri_of("admin"), valid_for=timedelta(minutes=-1)),
        "strange": strangers.issue("client", uri_of("admin")),
    }
    for name, certificate in others.items():
        certificate.write(folder / f"{name}.pem", folder / f"{name}.key")
    return authority


@pytest.fixture(scope="module", params=list(CONTRACTS))
def guarded(
    request: pytest.FixtureRequest,
    start_shared_service: StartService,
    postgres_server: ThrowAwayPostgres,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guarded]:
    name, folder, issuer = str(request.param), tmp_path_factory.mktemp("guarded"), Issuer()
    authority = _write_files(folder, issuer)
    database = f"guarded_{secrets.token_hex(6)}"
    postgres_server.sql(f"CREATE DATABASE {database} TEMPLATE {migrated_template} STRATEGY file_copy")
    files = {
        "TLS_CERT_FILE": "server.pem",
        "TLS_KEY_FILE": "server.key",
        "JWKS_FILE": "jwks.json",
        "DENY_LIST_FILE": "denied.json",
        "PRINCIPALS_FILE": "principals.json",
        "TLS_CLIENT_CA_FILE": "ca.pem",
    }
    settings = {f"{name.upper()}_{setting}": str(folder / file) for setting, file in files.items()}
    common = {
        "DATABASE_URL": postgres_server.url(database),
        "KEYSERVICE_BRIDGE_TARGET": NOBODY,
        f"{name.upper()}_LOG_LEVEL": "debug",
    }
    by_token, by_certificate = (
        start_shared_service(name, **common, **without(settings, *absent))
        for absent in (("PRINCIPALS_FILE", "TLS_CLIENT_CA_FILE"), ("JWKS_FILE", "DENY_LIST_FILE"))
    )
    things = asyncio.run(_make_things(name, by_token.wait_ready().port, folder, issuer))
    yield Guarded(
        name, issuer, authority, folder, by_token, by_certificate.wait_ready(), things, common["DATABASE_URL"]
    )
    for process in (by_token, by_certificate):
        process.close()
    postgres_server.sql(f"DROP DATABASE {database} WITH (FORCE)")


def without(settings: dict[str, str], *absent: str) -> dict[str, str]:
    return {name: value for name, value in settings.items() if not name.endswith(absent)}


async def _make_things(name: str, port: int, folder: Path, issuer: Issuer) -> Things:
    """A client with a key, or an account with a connector: what somebody has."""
    async with connect(f"localhost:{port}", tls=ClientTls(folder / "ca.pem")) as channel:
        if name == "bridgeservice":
            return await _make_connector(channel.stub(TradingBridgeStub), issuer)
        keys: Any = channel.stub(KeyServiceStub)
        admin = bearing(issuer.token())
        made = await keys.CreateClient(key_pb.CreateClientRequest(name="somebody"), metadata=admin)
        request = key_pb.AddApiKeyRequest(client_id=made.client.id, exchange="paper")
        added = await keys.AddApiKey(request, metadata=admin)
        return Things(made.client.id, added.api_key.id)


async def _make_connector(bridge: Any, issuer: Issuer) -> Things:
    things = Things.nobodys()
    request = bridge_pb.AddConnectorRequest(
        account_name=things.named["account_name"],
        connector_name=things.connector_name,
        exchange="paper",
        revision=5,
    )
    await bridge.AddConnector(request, metadata=bearing(issuer.token(role="bridge-writer")))
    return things
