"""Secrets go through every RPC and every failure, and are found nowhere but where a control is found too.

No secrets are a client's name and external id, a key's label and the last four characters of its api key: they are
there to be shown. What is looked up, as the exchange of a filter, reaches PostgreSQL as a parameter.
"""

import asyncio
import base64
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import grpc
import pytest
from pydantic import SecretStr

from keyservice.keyring import open_keyring
from keyservice.sealing import MasterKey
from servicekit.database.engine import Database
from servicekit.database.options import DatabaseOptions
from servicekit.database.url import parse_url
from tests.evidence.forced_failures import ForcedFailures
from tests.evidence.heard import Listener
from tests.evidence.logging_postgres import LoggingPostgres
from tests.evidence.planted import Planted
from tests.evidence.secret_traffic import SecretTraffic
from tests.support.service_process import StartService, free_port


@dataclass
class Scene:
    """What the service runs with, all of which is secret."""

    planted: Planted
    password: str
    keys: list[str]
    postgres: LoggingPostgres

    def environ(self, **changed: str) -> dict[str, str]:
        given = {
            "DATABASE_URL": self.postgres.service_url(),
            "KEYSERVICE_ENCRYPTION_KEYS": ",".join(self.keys),
            "KEYSERVICE_LOG_LEVEL": "debug",
            "KEYSERVICE_MIGRATE_ON_START": "true",
            "KEYSERVICE_DB_STATEMENT_TIMEOUT": "1s",
            "KEYSERVICE_DB_START_TIMEOUT": "1s",
        }
        return given | changed


@pytest.fixture
def scene() -> Iterator[Scene]:
    planted = Planted()
    password = planted.add("the database's password", secrets.token_hex(16) + "/@+ %")
    keys = [_plant_key(planted, f"master key {number}") for number in (1, 2)]
    postgres = LoggingPostgres(password)
    try:
        postgres.start()
        yield Scene(planted, password, keys, postgres)
    finally:
        postgres.stop()


def _plant_key(planted: Planted, name: str) -> str:
    key = MasterKey.generate()
    planted.add(f"the bytes of {name}", base64.urlsafe_b64decode(key))
    return planted.add(name, key)


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_secrets_are_found_nowhere_and_controls_everywhere(
    log_format: str, scene: Scene, start_service: StartService
) -> None:
    planted, postgres, metrics = scene.planted, scene.postgres, free_port()
    settings = {"KEYSERVICE_LOG_FORMAT": log_format, "KEYSERVICE_METRICS_LISTEN": f"127.0.0.1:{metrics}"}
    service = start_service("keyservice", **scene.environ(**settings)).wait_ready()
    label, request_id = f"control-{secrets.token_hex(12)}", f"request-{secrets.token_hex(12)}"

    async with grpc.aio.insecure_channel(service.address) as channel:
        listener = Listener(channel, request_id)
        traffic = SecretTraffic(listener, planted, label)
        await everything_that_happens(traffic, postgres)
    index_key = await _index_key(scene)
    planted.add("the index key", index_key)
    page = await asyncio.to_thread(_get, f"http://127.0.0.1:{metrics}/metrics")
    service.terminate()
    lines = "\n".join(await asyncio.to_thread(service.errors)).encode()

    controls = Planted()
    controls.add("label", label)
    controls.add("request id", request_id)
    controls.add("method", "keyservice.v1.KeyService")
    places = {
        "the service's log": (lines, "request id"),
        "answers": (bytes(listener.answers), "label"),
        "statuses": (bytes(listener.statuses), "request id"),
        "the metrics page": (page, "method"),
        "PostgreSQL's log": (postgres.log.read_bytes(), "label"),
        "a dump": (postgres.dump(), "label"),
    }
    assert {name: found for name, (where, _) in places.items() if (found := planted.found_in(where))} == {}
    for name, (where, control) in places.items():
        assert any(each.startswith(control) for each in controls.found_in(where)), name
    assert service.stdout() == b""
    assert len(planted.names) > 400
    # The failures did happen: their marks are in the logs.
    for mark in (b"unforeseen error", b"CheckViolationError", b"UndefinedColumnError"):
        assert mark in lines, mark
    for mark in (b"violates check constraint", b"canceling statement", b"Failing row contains", b"signal 9"):
        assert mark in postgres.log.read_bytes(), mark
    assert {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE} < set(listener.codes)


async def everything_that_happens(traffic: SecretTraffic, postgres: LoggingPostgres) -> None:
    """Secrets on every way in, first on the good ones and then on the bad ones."""
    client_id, key_id = await traffic.as_it_should_be()
    await traffic.in_every_text_field()
    await traffic.in_one_wrong_field(client_id, key_id)
    await traffic.in_headers_and_paths(client_id)
    await traffic.in_broken_requests()
    failures = ForcedFailures(traffic, postgres)
    await failures.constraints(client_id)
    await failures.deadlines(client_id, key_id)
    await failures.unforeseen(client_id, key_id)
    await failures.killed(client_id, key_id)


async def _index_key(scene: Scene) -> bytes:
    """What fingerprints are made with. The keyring does not give it out, so this takes it from where it lies."""
    database = Database(DatabaseOptions(url=parse_url(scene.postgres.service_url()), pool_size=1))
    keyring = await open_keyring(database, [SecretStr(key) for key in scene.keys])
    await database.close()
    key = keyring._index_key
    assert len(key) == 32
    return key


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own service
        body: bytes = answer.read()
    return body


async def test_a_start_that_fails_tells_no_secret(scene: Scene, start_service: StartService) -> None:
    planted, postgres = scene.planted, scene.postgres
    first = start_service("keyservice", **scene.environ()).wait_ready()
    first.terminate()
    said = [first.stderr()]
    stranger, wrong = _plant_key(planted, "a stranger"), planted.new("a wrong password")
    malformed = planted.new("a malformed URL")
    for changed in (
        {"KEYSERVICE_ENCRYPTION_KEYS": stranger},
        {"KEYSERVICE_ENCRYPTION_KEYS": ",".join([stranger, *scene.keys])},
        {"KEYSERVICE_ENCRYPTION_KEYS": ",".join([scene.keys[0], scene.keys[0]])},
        {"KEYSERVICE_ENCRYPTION_KEYS": scene.keys[0][:-3]},
        {"KEYSERVICE_ENCRYPTION_KEYS": planted.new("no key at all")},
        {"KEYSERVICE_ENCRYPTION_KEYS": "", "ENCRYPTION_KEY": planted.new("no single key")},
        {"KEYSERVICE_ENCRYPTION_KEYS_FILE": "/nowhere"},
        {"DATABASE_URL": postgres.service_url(wrong)},
        {"DATABASE_URL": f"postgresql://someone:{malformed}@host:port/database"},
        {"DATABASE_URL": f"mysql://someone:{malformed}@host/database"},
        {"DATABASE_URL": f"postgresql://someone:{malformed}@[::1/database?sslmode=never"},
        {"KEYSERVICE_DATABASE_URL_FILE": "/nowhere", "KEYSERVICE_DATABASE_URL": postgres.service_url()},
    ):
        process = start_service("keyservice", **scene.environ(**changed))
        lines = await asyncio.to_thread(process.errors)
        assert process.status() in (1, 2), (changed.keys(), lines)
        assert lines[-1].startswith("keyservice: "), lines
        said += lines
    places = {
        "what was said": "\n".join(said).encode(),
        "PostgreSQL's log": postgres.log.read_bytes(),
        "a dump": postgres.dump(),
    }
    assert {name: found for name, where in places.items() if (found := planted.found_in(where))} == {}
    # The ids of keys are there to be told, so that somebody knows which one is missing.
    controls = Planted()
    controls.add("key id", MasterKey(scene.keys[0]).key_id)
    assert controls.found_in(places["what was said"])
    assert controls.found_in(places["a dump"])


@pytest.mark.parametrize("length", range(30, 40))
def test_the_search_finds_a_secret_in_whatever_form_it_was_written(length: int) -> None:
    planted, secret = Planted(), secrets.token_bytes(length)
    planted.add("secret", secret)
    for before in range(4):
        whole = secrets.token_bytes(before) + secret + b"\0"
        forms = (whole, whole.hex(), base64.b64encode(whole), base64.urlsafe_b64encode(whole), quote(whole))
        for form in (*forms, whole.hex().upper(), base64.b64encode(whole[: before + 16])):
            assert planted.found_in(form if isinstance(form, bytes) else form.encode()), form
    assert not planted.found_in(secrets.token_bytes(100) + secret[1:15])
