"""The life of keys against a model in memory: whatever is done in whatever order, service and model agree.

``LIFE_CYCLES=1000 pytest tests/keyservice/test_life_cycle.py`` tries that many lives, others each time, and looks
for the shortest one that fails.
"""

import asyncio
import io
import os
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.housekeeping import Housekeeping
from keyservice.store.audit import RELEASE
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.api_key_pb2 import ApiKey
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.status import from_rpc_error
from tests.support.key_service import KeyService, new_credentials, running
from tests.support.probe import failure
from tests.support.sealed import read_rows

LONGER = os.environ.get("LIFE_CYCLES")
PROFILE = settings(
    max_examples=int(LONGER or 10),
    stateful_step_count=40,
    derandomize=LONGER is None,
    phases=list(Phase) if LONGER else [Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# Few of each, so that they meet often.
MOST_CLIENTS = 2
CREDENTIALS = [new_credentials() for _ in range(3)]
labels = st.sampled_from(["", "a", "b"])
numbers = st.integers(0, len(CREDENTIALS) - 1)
exchanges = st.sampled_from(["kraken", "binance", "paper"])


@dataclass(frozen=True)
class Key:
    """What should be known of a key."""

    client: str
    exchange: str
    label: str
    connector: str
    """The label of the moment when it was added."""
    number: int
    """Which of the credentials it has."""
    disabled: bool = False
    deletion: int | None = None
    """Which deletion it went with; a client's takes several keys along."""
    erased: bool = False
    revision: int = 0
    secret_version: int = 1

    def shown(self) -> tuple[object, ...]:
        """What a caller sees of it."""
        live = self.deletion is None
        return self.client, self.exchange, self.label, self.disabled, live, self.revision

    def rivals(self, other: "Key") -> set[str]:
        """Why the two can't both be live."""
        reasons: set[str] = set()
        if (self.client, self.exchange) == (other.client, other.exchange):
            if self.connector == other.connector:
                reasons.add("CONNECTOR_NAME_TAKEN")
            if self.label == other.label:
                reasons.add("LABEL_TAKEN")
            if self.number == other.number and self.exchange != "paper":
                reasons.add("API_KEY_ALREADY_ADDED")
        return reasons


@dataclass
class Model:
    """What the service should hold."""

    clients: dict[str, int | None] = field(default_factory=dict)
    """Each with the deletion that it is in, if it is in one."""
    keys: dict[str, Key] = field(default_factory=dict)
    done: list[tuple[str, Any, str]] = field(default_factory=list)
    """What was done under a request id: the method, the request, and the key that it came to."""
    events: int = 0
    deletions: int = 0

    def conflicts(self, wanted: Key, key_id: str = "") -> set[str]:
        """Why a key can't be live beside the others; either reason may be told."""
        others = (key for each, key in self.keys.items() if each != key_id and key.deletion is None)
        return set().union(*(wanted.rivals(other) for other in others))

    def delete(self) -> int:
        self.deletions += 1
        return self.deletions


class LifeCycle(RuleBasedStateMachine):
    """Everything that callers and time can do to clients and keys."""

    clients: Bundle[str] = Bundle("clients")
    keys: Bundle[str] = Bundle("keys")

    def __init__(self, runner: asyncio.Runner, service: KeyService) -> None:
        super().__init__()
        self.run = runner.run
        self.service = service
        self.model = Model()
        self.run(service.sql("TRUNCATE clients, exchange_api_keys, requests, audit_events"))
        [row] = self.run(service.sql("SELECT nextval('key_revisions')"))
        self.newest: int = row[0]

    def call(self, method: str, request: Any, refusals: Collection[str] = ()) -> Any:
        """The answer; None where the model says that there has to be a refusal, and there was, for such a reason."""
        note(f"{method} {refusals}")
        awaited: Awaitable[Any] = getattr(self.service.stub, method)(request)
        if refusals:
            told = from_rpc_error(self.run(failure(awaited)))
            assert told.reason in refusals, told
            return None
        return self.run(_answer(awaited))

    def listed(self, **filters: Any) -> dict[str, ApiKey]:
        request = pb.ListApiKeysRequest(page_size=1000, **filters)
        return {key.id: key for key in self.call("ListApiKeys", request).api_keys}

    def moved(self, *key_ids: str, draws: bool = True, **changes: Any) -> None:
        """These keys have changed so, all in one transaction, and drawn revisions newer than any before."""
        shown = self.listed(show_deleted=True)
        for key_id in key_ids:
            key, revision = self.model.keys[key_id], shown[key_id].revision
            assert revision > self.newest if draws else revision == key.revision
            self.model.keys[key_id] = replace(key, revision=revision, **changes)
        self.newest = max([self.newest, *(self.model.keys[each].revision for each in key_ids)])
        self.model.events += len(key_ids)

    def keys_in(self, client: str, deletion: int | None) -> list[str]:
        """The keys of a client that are in this deletion, or live, and could come back."""
        keys = self.model.keys.items()
        return [
            each for each, key in keys if (key.client, key.deletion) == (client, deletion) and not key.erased
        ]

    @initialize(target=clients)
    def first_client(self) -> str:
        return self.new_client()

    @precondition(lambda self: len(self.model.clients) < MOST_CLIENTS)
    @rule(target=clients)
    def add_client(self) -> str:
        return self.new_client()

    def new_client(self) -> str:
        client: str = self.call("CreateClient", pb.CreateClientRequest(name="a client")).client.id
        self.model.clients[client] = None
        self.model.events += 1
        return client

    @rule(client=clients)
    def delete_client(self, client: str) -> None:
        self.call("DeleteClient", pb.DeleteClientRequest(client_id=client))
        if self.model.clients[client] is None:
            deletion = self.model.clients[client] = self.model.delete()
            self.model.events += 1
            self.moved(*self.keys_in(client, None), deletion=deletion)

    @rule(client=clients)
    def undelete_client(self, client: str) -> None:
        self.call("UndeleteClient", pb.UndeleteClientRequest(client_id=client))
        deletion = self.model.clients[client]
        if deletion is not None:
            self.model.clients[client] = None
            self.model.events += 1
            self.moved(*self.keys_in(client, deletion), deletion=None)

    @rule(target=keys, client=clients, exchange=exchanges, label=labels, number=numbers, once=st.booleans())
    def add_key(self, client: str, exchange: str, label: str, number: int, once: bool) -> Any:
        wanted = Key(client, exchange, label, label, number)
        request = pb.AddApiKeyRequest(
            client_id=client, exchange=exchange, label=label, credentials=CREDENTIALS[number]
        )
        if once:
            request.request_id = str(uuid4())
        gone = self.model.clients[client] is not None
        refusals = {"CLIENT_NOT_FOUND"} if gone else self.model.conflicts(wanted)
        answer = self.call("AddApiKey", request, refusals)
        if answer is None:
            return multiple()
        key_id: str = answer.api_key.id
        assert key_id not in self.model.keys
        self.model.keys[key_id] = wanted
        self.moved(key_id)
        if once:
            self.model.done.append(("AddApiKey", request, key_id))
        return key_id

    @rule(key_id=keys, number=numbers, once=st.booleans())
    def rotate(self, key_id: str, number: int, once: bool) -> None:
        key = self.model.keys[key_id]
        request = pb.RotateApiKeyRequest(api_key_id=key_id, credentials=CREDENTIALS[number])
        if once:
            request.request_id = str(uuid4())
        conflicts = self.model.conflicts(replace(key, number=number), key_id)
        refusals = {"API_KEY_DELETED"} if key.deletion is not None else conflicts
        if self.call("RotateApiKey", request, refusals):
            self.moved(key_id, number=number, secret_version=key.secret_version + 1)
            if once:
                self.model.done.append(("RotateApiKey", request, key_id))

    @rule(key_id=keys, label=labels)
    def rename(self, key_id: str, label: str) -> None:
        self.update(key_id, "label", label, draws=False)

    @rule(key_id=keys, disabled=st.booleans())
    def disable_or_enable(self, key_id: str, disabled: bool) -> None:
        self.update(key_id, "disabled", disabled, draws=True)

    def update(self, key_id: str, name: str, value: Any, *, draws: bool) -> None:
        key = self.model.keys[key_id]
        request = pb.UpdateApiKeyRequest(api_key=ApiKey(id=key_id, **{name: value}))
        request.update_mask.paths.append(name)
        conflicts = self.model.conflicts(replace(key, **{name: value}), key_id)
        refusals = {"API_KEY_DELETED"} if key.deletion is not None else conflicts
        if self.call("UpdateApiKey", request, refusals) and getattr(key, name) != value:
            self.moved(key_id, draws=draws, **{name: value})

    @rule(key_id=keys)
    def delete_key(self, key_id: str) -> None:
        self.call("DeleteApiKey", pb.DeleteApiKeyRequest(api_key_id=key_id))
        if self.model.keys[key_id].deletion is None:
            self.moved(key_id, deletion=self.model.delete())

    @rule(key_id=keys)
    def undelete_key(self, key_id: str) -> None:
        key = self.model.keys[key_id]
        refusals: set[str] = set()
        if key.erased:
            refusals = {"CREDENTIALS_ERASED"}
        elif key.deletion is not None:
            gone = self.model.clients[key.client] is not None
            refusals = {"CLIENT_DELETED"} if gone else self.model.conflicts(key, key_id)
        answer = self.call("UndeleteApiKey", pb.UndeleteApiKeyRequest(api_key_id=key_id), refusals)
        if answer and key.deletion is not None:
            self.moved(key_id, deletion=None)

    @rule()
    def erase_what_is_deleted(self) -> None:
        due = [each for each, key in self.model.keys.items() if key.deletion is not None and not key.erased]
        keeping = Housekeeping(self.service.database, erase_after=timedelta(0))
        assert self.run(keeping.once()) == len(due)
        self.model.events += len(due)
        for key_id in due:
            self.model.keys[key_id] = replace(self.model.keys[key_id], erased=True)

    @precondition(lambda self: self.model.done)
    @rule(choice=st.integers(0, 100))
    def repeat_a_request(self, choice: int) -> None:
        method, request, key_id = self.model.done[choice % len(self.model.done)]
        answer = self.call(method, request).api_key
        assert answer.id == key_id
        assert _shown(answer) == self.model.keys[key_id].shown()

    @precondition(lambda self: self.model.done)
    @rule(choice=st.integers(0, 100))
    def use_a_request_id_for_something_else(self, choice: int) -> None:
        method, request, _ = self.model.done[choice % len(self.model.done)]
        other = type(request)()
        other.CopyFrom(request)
        other.credentials.CopyFrom(new_credentials())
        self.call(method, other, {"REQUEST_ID_REUSED"})

    @rule(client=clients, exchange=exchanges)
    def list_some(self, client: str, exchange: str) -> None:
        expected = {
            each
            for each, key in self.model.keys.items()
            if (key.client, key.exchange, key.deletion) == (client, exchange, None)
        }
        assert self.listed(client_id=client, exchange=exchange).keys() == expected

    @invariant()
    def every_key_is_shown_as_it_should_be(self) -> None:
        shown = {each: _shown(key) for each, key in self.listed(show_deleted=True).items()}
        assert shown == {each: key.shown() for each, key in self.model.keys.items()}

    def teardown(self) -> None:
        """At the end of a life: the credentials are the ones that were given last, and each change has its event."""
        rows = self.run(read_rows(self.service.database))
        for each, key in self.model.keys.items():
            row = rows[UUID(each)]
            opened = row.open(self.service.keyring)
            assert opened == ({} if key.erased else _columns(CREDENTIALS[key.number]))
            assert row.secret_version == key.secret_version
        changes = self.service.sql("SELECT id FROM audit_events WHERE action <> :release", release=RELEASE)
        assert len(self.run(changes)) == self.model.events


def _shown(key: ApiKey) -> tuple[object, ...]:
    live = not key.HasField("delete_time")
    return key.client_id, key.exchange, key.label, key.disabled, live, key.revision


def _columns(given: Credentials) -> dict[str, bytes]:
    return {"api_key": given.api_key.encode(), "api_secret": given.api_secret.encode()}


async def _answer(awaited: Awaitable[Any]) -> Any:
    return await awaited


@pytest.mark.timeout(0 if LONGER else 120)
def test_service_and_model_agree_on_every_life(database_url: DatabaseUrl, output: io.StringIO) -> None:
    with asyncio.Runner() as runner:
        serving = running(database_url)
        service = runner.run(serving.__aenter__())
        try:
            make: Any = lambda: LifeCycle(runner, service)  # noqa: E731 - typed as a class, used as a factory
            run_state_machine_as_test(make, settings=PROFILE)
        finally:
            runner.run(serving.__aexit__(None, None, None))
