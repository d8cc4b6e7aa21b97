"""What `keybridge up` shows once it serves: one demo client, whoever looks for it and however often."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keybridge import demo
from keybridge.client import key_service
from keybridge.demo import Demo, commands, demonstrate, show, told
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from servicekit.database.url import DatabaseUrl
from servicekit.errors import AlreadyExists
from tests.support.bridges import RunningBridge, hangs, running_bridge
from tests.support.key_service import KeyService, running


@pytest.fixture
async def bridge() -> AsyncIterator[RunningBridge]:
    async with running_bridge() as bridge:
        yield bridge


@pytest.fixture
async def keys(database_url: DatabaseUrl, bridge: RunningBridge) -> AsyncIterator[KeyService]:
    async with running(database_url, bridge_target=bridge.target, loops=True) as service:
        yield service


async def shown(service: KeyService) -> Demo:
    async with key_service(f"127.0.0.1:{service.port}") as stub:
        return await demonstrate(stub)


async def clients(service: KeyService) -> list[Client]:
    return list((await service.stub.ListClients(pb.ListClientsRequest())).clients)


async def keys_of(service: KeyService, client_id: str) -> list[str]:
    listed = await service.stub.ListApiKeys(pb.ListApiKeysRequest(client_id=client_id))
    return [key.id for key in listed.api_keys]


async def test_the_first_run_makes_the_client_and_its_key_and_the_next_finds_both(keys: KeyService) -> None:
    first = await shown(keys)
    [client] = await clients(keys)
    assert (client.id, client.external_id) == (first.client_id, demo.EXTERNAL_ID)
    made = await keys_of(keys, client.id)
    assert len(made) == 1
    assert (await shown(keys)).client_id == client.id
    assert await clients(keys) == [client]
    assert await keys_of(keys, client.id) == made


async def test_two_runs_at_once_make_one_client_with_one_key(keys: KeyService) -> None:
    runs = await asyncio.gather(*(shown(keys) for _ in range(5)))
    [client] = await clients(keys)
    assert {each.client_id for each in runs} == {client.id}
    assert len(await keys_of(keys, client.id)) == 1
    assert all(each.held.complete for each in runs)


async def test_it_is_found_behind_other_clients(keys: KeyService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_PAGE", 1)
    await keys.add_client("Ada")
    first = await shown(keys)
    assert (await shown(keys)).client_id == first.client_id
    assert len(await clients(keys)) == 2


async def test_a_client_that_was_deleted_is_made_anew(keys: KeyService) -> None:
    first = await shown(keys)
    await keys.stub.DeleteClient(pb.DeleteClientRequest(client_id=first.client_id))
    second = await shown(keys)
    assert second.client_id != first.client_id
    assert [each.id for each in await clients(keys)] == [second.client_id]


async def test_a_name_that_is_taken_where_it_can_not_be_seen_is_an_error(
    keys: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys.add_client("Ada", external_id="taken")
    async with key_service(f"127.0.0.1:{keys.port}") as stub:
        monkeypatch.setattr(demo, "EXTERNAL_ID", "taken")
        monkeypatch.setattr(demo, "_found", _nobody)
        with pytest.raises(AlreadyExists):
            await demonstrate(stub)


async def _nobody(_stub: object) -> None:
    """Another tenant's client looks like one that does not exist."""


async def test_what_it_holds_is_shown_as_soon_as_the_bridge_is_there(
    keys: KeyService, bridge: RunningBridge
) -> None:
    await bridge.stop()
    showing = asyncio.create_task(shown(keys))
    while not await clients(keys):  # noqa: ASYNC110 - it is made over there
        await asyncio.sleep(0.01)
    await bridge.start()
    assert told(await showing).splitlines()[1:] == [
        "  asset   free   used   total",
        "  BTC      1.5   0.50    2.00",
    ]


async def test_while_the_bridge_is_away_the_reason_is_shown(
    keys: KeyService, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_PATIENCE_WITH_THE_BRIDGE", 0.1)
    await bridge.stop()
    made = await shown(keys)
    first, reason = told(made).splitlines()
    assert first == f"Demo client {made.client_id}, on the exchange paper:"
    assert "BRIDGE_UNAVAILABLE" in reason


async def test_what_cannot_be_shown_is_one_sentence(
    keys: KeyService, bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (token := tmp_path / "admin.token").write_text("a-token")
    sentence = "The demo client could not be made ({}); the services serve all the same."
    text, lines = await show("127.0.0.1:1", "grpcurl", token)
    assert (text.strip(), lines) == (sentence.format("UNAVAILABLE"), [])
    text, lines = await show(f"127.0.0.1:{keys.port}", "grpcurl", tmp_path)
    assert (text.strip(), lines) == (sentence.format("Is a directory"), [])
    monkeypatch.setattr(demo, "_PATIENCE", 0.2)
    bridge.faults.before["AddConnector"] = hangs
    text, lines = await show(f"127.0.0.1:{keys.port}", "grpcurl", token)
    assert (text.strip(), lines) == (sentence.format("no answer in time"), [])


async def test_the_label_that_is_proposed_is_free(keys: KeyService) -> None:
    for expected in ("number-2", "number-3"):
        [_, add] = commands(await shown(keys), "grpcurl", "127.0.0.1:1")
        [*_, request, _, method] = shlex.split(add)
        assert method == "keyservice.v1.KeyService/AddApiKey"
        assert f'"label": "{expected}"' in request
        [client] = await clients(keys)
        await keys.add_key(client, exchange="paper", label=expected)
