"""The client that `pip install keybridge` brings: typed stubs whose refusals are errors of ours."""

import asyncio
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from bridgeservice.v1 import trading_bridge_pb2
from keybridge.client import Access, ChannelOptions, ClientTls, key_service, trading_bridge
from keyservice.v1 import key_service_pb2 as pb
from servicekit.database.url import DatabaseUrl
from servicekit.errors import DeadlineExceeded, InvalidArgument, NotFound, StartupError, Unavailable
from tests.support.bridge_service import Bridge
from tests.support.bridges import hangs, running_bridge
from tests.support.key_service import PRINCIPAL, KeyService, running

ROOT = Path(__file__).parents[2]


def at(service: KeyService) -> str:
    return f"127.0.0.1:{service.port}"


async def test_a_call_answers_with_its_message(service: KeyService) -> None:
    async with key_service(at(service)) as keys:
        made = (await keys.CreateClient(pb.CreateClientRequest(name="Ada"))).client
        found = (await keys.GetClient(pb.GetClientRequest(client_id=made.id))).client
    assert found == made


async def test_a_refusal_is_an_error_of_ours_with_its_reason(service: KeyService) -> None:
    async with key_service(at(service)) as keys:
        with pytest.raises(NotFound) as missing:
            await keys.GetClient(pb.GetClientRequest(client_id=str(uuid4())))
        with pytest.raises(InvalidArgument) as wrong:
            await keys.CreateClient(pb.CreateClientRequest())
    assert (missing.value.reason, missing.value.message) == ("CLIENT_NOT_FOUND", "There is no such client.")
    assert [each.field for each in wrong.value.violations] == ["name"]


async def test_a_stream_is_read_message_by_message_and_its_refusal_is_an_error_of_ours(
    database_url: DatabaseUrl,
) -> None:
    async with running(database_url, loops=True) as service, key_service(at(service)) as keys:
        client = await service.add_client()
        key = await service.add_key(client, exchange="paper")
        watch = aiter(keys.WatchApiKeys(pb.WatchApiKeysRequest(client_id=client.id)))
        assert (await anext(watch)).api_key.id == key.id
        refused = aiter(keys.WatchApiKeys(pb.WatchApiKeysRequest(client_id="no id")))
        with pytest.raises(InvalidArgument):
            await anext(refused)


async def test_a_service_that_is_away_is_unavailable() -> None:
    async with key_service("127.0.0.1:1") as keys:
        with pytest.raises(Unavailable):
            await keys.ListClients(pb.ListClientsRequest())


async def test_a_call_is_over_when_its_time_is_or_else_when_the_usual_time_is() -> None:
    quick = Access(options=ChannelOptions(timeout=timedelta(milliseconds=100)))
    async with running_bridge() as bridge, trading_bridge(bridge.target, quick) as stub:
        bridge.faults.before["GetBridgeInfo"] = hangs
        with pytest.raises(DeadlineExceeded):
            await stub.GetBridgeInfo(trading_bridge_pb2.GetBridgeInfoRequest())
        with pytest.raises(DeadlineExceeded):
            await stub.GetBridgeInfo(trading_bridge_pb2.GetBridgeInfoRequest(), timeout=0.1)


async def test_the_bridge_has_a_client_too(bridge: Bridge) -> None:
    async with trading_bridge(f"127.0.0.1:{bridge.server.port}") as stub:
        told = await stub.GetBridgeInfo(trading_bridge_pb2.GetBridgeInfoRequest())
    assert told.instance_id == bridge.identity.instance_id


async def test_who_the_caller_is_goes_with_every_call(service: KeyService) -> None:
    async with key_service(at(service), Access(metadata=((PRINCIPAL, "ada"),))) as keys:
        await keys.CreateClient(pb.CreateClientRequest(name="Ada"))
        [event] = (await keys.ListAuditEvents(pb.ListAuditEventsRequest())).events
    assert event.principal == "ada"


async def test_a_certificate_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read: No such file"):
        async with key_service("127.0.0.1:1", Access(tls=ClientTls(ca_file=tmp_path / "ca.pem"))):
            pytest.fail("it connected")


async def test_the_example_of_the_readme_runs(database_url: DatabaseUrl, tmp_path: Path) -> None:
    """Literally, but for the port."""
    [example] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    async with running_bridge() as bridge, running(database_url, bridge_target=bridge.target) as service:
        (tmp_path / "admin.token").write_text("a-token")
        ada = await service.add_client("Ada")
        await service.add_key(ada, exchange="paper")
        done = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            example.replace("127.0.0.1:50051", at(service)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        said, errors = await asyncio.wait_for(done.communicate(), 60)
    assert (done.returncode, errors.decode()) == (0, "")
    assert said.decode() == "Ada ['2.00 BTC']\n"
