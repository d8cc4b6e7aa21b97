"""What Prometheus reads: counts, latencies, calls in flight, pools, over a real socket."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

from servicekit.errors import StartupError
from servicekit.metrics import Metrics, MetricsServer, forget_worker, serve_workers, works_in_files
from servicekit.values import Address
from tests.servicekit.running import ROOT, wait_until

ANYWHERE = Address("127.0.0.1", 0)
METHOD = "/keyservice.v1.KeyService/AddApiKey"
LABELS = 'grpc_method="AddApiKey",grpc_service="keyservice.v1.KeyService"'


def scrape(address: Address) -> dict[str, float]:
    page = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode()
    samples = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def serving(metrics: Metrics, address: Address = ANYWHERE) -> MetricsServer:
    server = metrics.serve(address)
    assert isinstance(server, MetricsServer)
    return server


def test_a_call_is_counted_by_service_method_and_code_and_timed() -> None:
    metrics = Metrics()
    with serving(metrics) as server:
        metrics.rpc_started(METHOD)
        assert scrape(server.address)[f"grpc_server_in_flight{{{LABELS}}}"] == 1
        metrics.rpc_finished(METHOD, "NOT_FOUND", 0.02)
        metrics.rpc_refused(METHOD, "ECHO_NOT_FOUND")
        numbers = scrape(server.address)
    assert numbers[f"grpc_server_started_total{{{LABELS}}}"] == 1
    assert numbers[f"grpc_server_in_flight{{{LABELS}}}"] == 0
    assert numbers['grpc_server_handled_total{grpc_code="NOT_FOUND",' + LABELS + "}"] == 1
    assert numbers["keybridge_rpc_refused_total{" + LABELS + ',reason="ECHO_NOT_FOUND"}'] == 1
    assert numbers[f'grpc_server_handling_seconds_bucket{{{LABELS},le="0.025"}}'] == 1
    assert numbers[f'grpc_server_handling_seconds_bucket{{{LABELS},le="0.01"}}'] == 0
    assert numbers[f"grpc_server_handling_seconds_sum{{{LABELS}}}"] == 0.02
    assert "process_open_fds" in numbers or sys.platform != "linux"


def test_two_sets_of_numbers_do_not_mix() -> None:
    registry = CollectorRegistry()
    Metrics().rpc_started(METHOD)
    with serving(Metrics(registry)) as server:
        assert f"grpc_server_started_total{{{LABELS}}}" not in scrape(server.address)


@pytest.fixture
def pool() -> Iterator[QueuePool]:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=3, max_overflow=2)
    assert isinstance(engine.pool, QueuePool)
    yield engine.pool
    engine.dispose()


def test_a_pool_shows_its_use_at_the_time_of_reading(pool: QueuePool) -> None:
    metrics = Metrics()
    metrics.watch_pool("keyservice", pool, waiting=lambda: 4)

    def state(server: MetricsServer) -> list[float]:
        numbers = scrape(server.address)
        names = ("size", "idle", "checked_out", "overflow", "waiting")
        return [numbers[f'keybridge_database_pool_{name}{{pool="keyservice"}}'] for name in names]

    with serving(metrics) as server:
        assert state(server) == [3, 0, 0, 0, 4]
        connections = [pool.connect() for _ in range(4)]
        assert state(server) == [3, 0, 4, 1, 4]
        for connection in connections:
            connection.close()
        assert state(server) == [3, 3, 0, 0, 4]


def test_who_counts_no_waiting_shows_none(pool: QueuePool) -> None:
    metrics = Metrics()
    metrics.watch_pool("bridge", pool)
    with serving(metrics) as server:
        numbers = scrape(server.address)
    assert not any("waiting" in name for name in numbers)


def test_an_address_in_use_is_one_sentence() -> None:
    with serving(Metrics()) as server, pytest.raises(StartupError) as caught:
        serving(Metrics(), server.address)
    assert str(caught.value) == f"the metrics cannot be served on {server.address}: Address already in use"


def test_a_host_that_nobody_knows_is_one_sentence() -> None:
    with pytest.raises(StartupError, match=r"the metrics cannot be served on nowhere\.invalid:9090: "):
        serving(Metrics(), Address("nowhere.invalid", 9090))


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_is_served_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with serving(Metrics(), Address("::1", 0)) as server:
        assert scrape(server.address) is not None


def test_after_it_is_closed_nobody_listens() -> None:
    server = serving(Metrics())
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.address.host, server.address.port), timeout=5)


def test_a_client_that_breaks_off_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(Metrics()) as server:
        client = socket.create_connection((server.address.host, server.address.port), timeout=5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"GET /metrics HT")
        client.close()
        assert scrape(server.address) is not None
    assert "Traceback" not in capfd.readouterr().err


WORKER = """
import os, signal, sys
from servicekit.metrics import Metrics, works_in_files
from servicekit.values import Address

class Pool:
    def size(self): return 5
    def checkedin(self): return 2
    asked = 0
    def checkedout(self):
        self.asked += 1
        return 3 if self.asked > 1 else 0
    def overflow(self): return -2

assert works_in_files()
metrics = Metrics()
metrics.watch_pool("keyservice", Pool())
with metrics.serve(Address("127.0.0.1", 1)):
    for _ in range(3):
        metrics.rpc_started("/a.B/C")
    metrics.rpc_finished("/a.B/C", "OK", 0.5)
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_the_numbers_of_workers_are_summed_and_a_dead_one_has_nothing_in_flight(tmp_path: Path) -> None:
    assert not works_in_files()
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    labels = 'grpc_method="C",grpc_service="a.B"'
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        with serve_workers(ANYWHERE, tmp_path) as server:
            checked_out = 'keybridge_database_pool_checked_out{pool="keyservice"}'
            wait_until(lambda: scrape(server.address).get(checked_out) == 6)
            numbers = scrape(server.address)
            assert numbers[f"grpc_server_started_total{{{labels}}}"] == 6
            assert numbers[f"grpc_server_in_flight{{{labels}}}"] == 4
            assert numbers['keybridge_database_pool_overflow{pool="keyservice"}'] == 0
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()
            forget_worker(tmp_path, workers[0].pid)
            numbers = scrape(server.address)
            assert numbers[f"grpc_server_started_total{{{labels}}}"] == 6
            assert numbers[f"grpc_server_in_flight{{{labels}}}"] == 2
        workers[1].communicate("\n")
        assert workers[1].returncode == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
