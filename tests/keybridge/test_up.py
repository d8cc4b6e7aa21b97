"""``keybridge up``: one command starts everything, one Ctrl-C ends it, and no kill spoils the next start."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keybridge import up
from keyservice.sealing import MasterKey
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from servicekit.database.url import DatabaseUrl
from servicekit.rpc.client import ClientTls, connect
from servicekit.rpc.status import from_rpc_error
from tests.keybridge.conftest import Here, Running, Start
from tests.support.grpcurl import ROOT, paste
from tests.support.issuer import Issuer, bearing
from tests.support.places import processes_with
from tests.support.probe import failure, plain_channel, raw_call

SERVING = health_pb2.HealthCheckResponse.SERVING


async def addresses(running: Running) -> tuple[str, str]:
    bridge = await running.says(r"TradingBridge +(\S+), SERVING")
    key = await running.says(r"KeyService +(\S+), SERVING")
    await running.says("Ctrl-C stops everything")
    return bridge[1], key[1]


async def health(address: str, service: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
        return int(answer.status)


async def until_it_reaches_its_bridge(key_address: str, token: str) -> None:
    """Whichever of the two serves first, KeyService looks for the bridge again and again."""
    request, admin = pb.GetBridgeHealthRequest(), bearing(token)
    async with grpc.aio.insecure_channel(key_address) as channel, asyncio.timeout(20):
        health = KeyServiceStub(channel).GetBridgeHealth
        while not (await health(request, metadata=admin, timeout=10)).reachable:  # noqa: ASYNC110 - inside KeyService
            await asyncio.sleep(0.02)


async def refusal_of(address: str, method: str) -> str | None:
    """What somebody hears who does not say who he is."""
    async with plain_channel(int(address.rpartition(":")[2])) as channel:
        return from_rpc_error(await failure(raw_call(channel, method, b""))).reason


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_callers(line: str, callers: dict[str, Path]) -> str:
    """With what the README has put into variables before."""
    for name, token_file in callers.items():
        line = line.replace(f'"${name}"', f'"authorization: Bearer $(cat {token_file})"')
    return line


async def demo_client(running: Running) -> str:
    return (await running.says(r"Demo client ([0-9a-f-]{36}),"))[1]


def paste_all(lines: list[str]) -> None:
    """One after the other; where a line names no client or key yet, the one that was made last."""
    client_id = key_id = ""
    for line in lines:
        said = paste(line.replace("THE ID", client_id).replace("THE KEY ID", key_id))
        if "CreateClient" in line:
            client_id = json.loads(said)["client"]["id"]
        if line.endswith("/AddApiKey"):
            key_id = json.loads(said)["apiKey"]["id"]


async def test_it_starts_both_services_what_it_says_can_be_pasted_and_one_ctrl_c_ends_all_of_it(
    keybridge: Start, place: Path
) -> None:
    running = await keybridge("up", measured=True)
    bridge, key = await addresses(running)
    assert await health(bridge, "bridgeservice.v1.TradingBridge") == SERVING
    assert await health(key, "keyservice.v1.KeyService") == SERVING
    token_file = place / "home" / "admin.token"
    await until_it_reaches_its_bridge(key, token_file.read_text().strip())
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    for address, method in (
        (key, "/keyservice.v1.KeyService/ListClients"),
        (bridge, "/bridgeservice.v1.TradingBridge/GetBridgeInfo"),
    ):
        assert await refusal_of(address, method) == "CREDENTIALS_MISSING"
    client = await demo_client(running)
    await running.says(r"  asset +free +used +total\n(  [A-Z]+ +[0-9.]+ +[0-9.]+ +[0-9.]+\n){4}")
    printed = re.findall(r"^  (grpcurl .*)$", running.said, flags=re.M)
    calls = {line.split()[-1].rpartition("/")[2] for line in printed if client in line}
    assert calls == {"GetBalances", "AddApiKey"}
    await asyncio.to_thread(paste_all, printed)
    readme = re.findall(r"^grpcurl .*$", (ROOT / "README.md").read_text(), flags=re.M)
    assert len(readme) > 10
    callers = {"AUTH": token_file, "WRITER": place / "home" / "keyservice.token"}
    there = [line.replace("127.0.0.1:50051", key).replace("127.0.0.1:50052", bridge) for line in readme]
    await asyncio.to_thread(paste_all, [as_callers(line, callers) for line in there])
    assert await running.interrupt() == 0
    assert running.said.rstrip().endswith("Stopped.")
    assert processes_with(str(place)) == []


def test_the_services_do_not_wait_for_what_only_they_need() -> None:
    program = "import sys, keybridge.up; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"alembic", "asyncpg", "ccxt", "grpc", "sqlalchemy"} & set(done.stdout.split())


async def test_after_a_kill_9_the_next_one_starts_on_the_same_ports_and_data_with_the_same_key(
    keybridge: Start, place: Path
) -> None:
    ports = {
        "KEYSERVICE_LISTEN": f"127.0.0.1:{a_free_port()}",
        "BRIDGESERVICE_LISTEN": f"127.0.0.1:{a_free_port()}",
    }
    file = place / "home" / "encryption-keys"
    first = await keybridge("up", **ports)
    await addresses(first)
    client = await demo_client(first)
    made = file.read_text()
    first.process.kill()
    # At once: the services of the first may still be there and have to notice that their parent is gone.
    second = await keybridge("up", **ports)
    bridge, key = await addresses(second)
    assert await health(bridge, "") == SERVING
    assert await health(key, "") == SERVING
    assert await demo_client(second) == client
    await second.says(r"  USDT +10000 +0 +10000\n")
    assert await second.interrupt() == 0
    assert file.read_text() == made
    assert made.strip() not in first.said + second.said
    assert MasterKey(made.strip()).key_id
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.glob("encryption-keys*")] == [file.name]


async def test_a_service_that_dies_is_started_again(keybridge: Start) -> None:
    running = await keybridge("up", KEYSERVICE_LISTEN=f"127.0.0.1:{a_free_port()}")
    _, key = await addresses(running)
    [pid] = [each for each in children_of(running.process.pid) if runs(each, "keyservice")]
    os.kill(pid, signal.SIGKILL)
    await running.says("a child process died and is replaced")
    async with asyncio.timeout(20), grpc.aio.insecure_channel(key) as channel:
        request = health_pb2.HealthCheckRequest()
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(request, wait_for_ready=True, timeout=20)
    assert answer.status == SERVING
    assert await running.interrupt() == 0


async def test_a_database_that_the_settings_name_is_used(
    keybridge: Start, empty_database_url: DatabaseUrl, place: Path
) -> None:
    running = await keybridge(
        "up", DATABASE_URL=str(empty_database_url), KEYSERVICE_ENCRYPTION_KEYS=MasterKey.generate()
    )
    await running.says(r"PostgreSQL +\S+\n")
    await addresses(running)
    assert await running.interrupt() == 0
    assert not {"postgres", "encryption-keys"} & {each.name for each in (place / "home").iterdir()}
    # It is somebody's own, and may hold real clients.
    assert "Demo client" not in running.said


async def test_a_database_that_the_settings_name_is_never_sealed_with_a_key_made_by_the_way(
    keybridge: Start, empty_database_url: DatabaseUrl, place: Path
) -> None:
    running = await keybridge("up", DATABASE_URL=str(empty_database_url))
    assert await running.ends() == 2
    assert "keyservice: KEYSERVICE_ENCRYPTION_KEYS is empty: it needs at least one key" in running.said
    assert "Traceback" not in running.said
    assert not (place / "home" / "encryption-keys").exists()


async def test_on_an_address_that_others_reach_it_serves_tls_with_its_own_certificates(
    keybridge: Start, place: Path
) -> None:
    ports = {"KEYSERVICE_LISTEN": "0.0.0.0:0", "BRIDGESERVICE_LISTEN": "0.0.0.0:0"}
    running = await keybridge("up", **ports)
    await running.says("Ctrl-C stops everything")
    key = await running.says(r"KeyService +\S+:(\d+), SERVING")
    home = place / "home"
    async with connect(f"localhost:{key[1]}", tls=ClientTls(home / "ca.pem")) as channel:
        admin = bearing((home / "admin.token").read_text().strip())
        stub = channel.stub(KeyServiceStub)
        async with asyncio.timeout(20):
            while not (await stub.GetBridgeHealth(pb.GetBridgeHealthRequest(), metadata=admin)).reachable:  # noqa: ASYNC110 - inside KeyService
                await asyncio.sleep(0.02)
    assert await refusal_of(f"127.0.0.1:{key[1]}", "/keyservice.v1.KeyService/ListClients") is None
    assert await running.interrupt() == 0


async def test_authentication_that_the_settings_name_is_used_and_none_is_made_by_the_way(
    keybridge: Start, place: Path
) -> None:
    issuer = Issuer()
    issuer.write(place / "jwks.json")
    (place / "own.token").write_text(issuer.token(role="bridge-writer"))
    theirs = {f"{name}_JWKS_FILE": str(place / "jwks.json") for name in ("KEYSERVICE", "BRIDGESERVICE")}
    running = await keybridge("up", KEYSERVICE_BRIDGE_TOKEN_FILE=str(place / "own.token"), **theirs)
    _, key = await addresses(running)
    await until_it_reaches_its_bridge(key, issuer.token())
    assert "Admin token" not in running.said
    assert not list((place / "home").glob("*.token"))
    assert await running.interrupt() == 0


async def test_a_port_that_stays_in_use_is_one_sentence(
    here: Here, place: Path, monkeypatch: pytest.MonkeyPatch, logging_restored: None
) -> None:
    monkeypatch.setattr(up, "_PATIENCE_WITH_PORTS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = await here(up.up, KEYSERVICE_LISTEN=address)
    assert done.status == 1
    assert f"Waiting for {address} to become free.\n" in done.said
    assert done.said.endswith(f"\nkeybridge: Cannot listen on {address}: address already in use.\n")
    assert processes_with(str(place)) == []


async def test_a_service_that_cannot_start_ends_all_with_its_sentence(keybridge: Start, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running = await keybridge("up", measured=True, KEYSERVICE_METRICS_LISTEN=address)
        assert await running.ends() == 1
    assert f"keyservice: the metrics cannot be served on {address}" in running.said
    assert "Traceback" not in running.said
    assert processes_with(str(place)) == []


async def test_a_wrong_setting_is_one_sentence_and_status_2_and_makes_nothing(
    keybridge: Start, place: Path
) -> None:
    running = await keybridge("up", BRIDGESERVICE_LISTEN="nowhere")
    assert await running.ends() == 2
    assert running.said.count("\n") == 1
    assert "BRIDGESERVICE_LISTEN" in running.said
    assert not (place / "home").exists()


async def test_a_home_that_can_not_be_written_is_one_sentence(keybridge: Start, place: Path) -> None:
    (place / "file").touch()
    running = await keybridge("up", KEYBRIDGE_HOME=str(place / "file" / "home"))
    assert await running.ends() == 1
    assert running.said.startswith("keybridge: ")
    assert running.said.count("\n") == 1


async def test_ctrl_c_during_the_start_leaves_nothing(keybridge: Start, place: Path) -> None:
    running = await keybridge("up")
    await running.says("PostgreSQL")
    assert await running.interrupt() == 0
    assert processes_with(str(place)) == []


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int, module: str) -> bool:
    return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
