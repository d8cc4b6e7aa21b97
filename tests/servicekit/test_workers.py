"""Workers on one port: real processes, killed, failing, stopped, and gone with their supervisor."""

import contextlib
import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servicekit.running import Program, Start, alive, programs, wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as start:
        yield start


def port_of(program: Program) -> int:
    """The port that the supervisor says its workers are ready on."""

    def ready() -> list[str]:
        lines = [json.loads(line) for line in program.stderr().splitlines() if line.startswith("{")]
        return [line["address"] for line in lines if line["event"] == "workers are ready"]

    wait_until(ready)
    return int(ready()[0].rpartition(":")[2])


def answers(port: int, tries: int = 40) -> dict[int, int]:
    """Which workers answer, by number, with their process ids."""
    found = {}
    for _ in range(tries):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        ):
            number, pid = connection.makefile().read().split()
            found[int(number)] = int(pid)
    return found


def test_workers_share_one_port_and_all_go_at_sigterm(start: Start) -> None:
    program = start("supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0")
    port = port_of(program)
    workers = answers(port)
    assert set(workers) == {1, 2}
    program.signal(signal.SIGTERM)
    assert program.status() == 0
    assert not any(map(alive, workers.values()))
    assert program.stderr().endswith("grpc imported: False\n")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


def test_a_worker_that_was_killed_is_logged_and_replaced(start: Start) -> None:
    program = start("supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0")
    port = port_of(program)
    before = answers(port)
    os.kill(before[1], signal.SIGKILL)
    wait_until(lambda: answers(port, 4).get(1, before[1]) != before[1])
    lines = [json.loads(line) for line in program.stderr().splitlines()]
    (died,) = [line for line in lines if line["level"] == "warning"]
    assert (died["pid"], died["name"], died["how"]) == (
        before[1],
        "example worker 1",
        "was killed by SIGKILL",
    )
    after = answers(port)
    assert after[2] == before[2]
    program.signal(signal.SIGINT)
    assert program.status() == 0
    assert not any(map(alive, [*before.values(), *after.values()]))


@pytest.mark.parametrize("status", ["1", "2"])
def test_a_worker_that_cannot_start_stops_all_with_its_status_and_one_sentence(
    start: Start, status: str
) -> None:
    program = start(
        "supervisor", "3", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_MODE="fail", EXAMPLE_STATUS=status
    )
    assert program.status() == int(status)
    assert program.stderr() == "example: the database is away\ngrpc imported: False\n"


def test_a_worker_that_is_killed_in_its_first_start_is_replaced(start: Start, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    program = start("supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_MODE="killed", EXAMPLE_MARK=mark)
    assert set(answers(port_of(program))) == {1, 2}


def test_a_replacement_that_cannot_start_is_tried_again_while_the_others_serve(
    start: Start, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    program = start(
        "supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_MODE="fail-again", EXAMPLE_MARK=str(mark)
    )
    port = port_of(program)
    before = answers(port)
    mark.touch()
    os.kill(before[1], signal.SIGKILL)
    wait_until(lambda: answers(port, 4).get(1, before[1]) != before[1])
    assert mark.with_suffix(".seen").exists()
    assert answers(port)[2] == before[2]


def test_workers_end_with_a_supervisor_that_was_killed(start: Start) -> None:
    program = start("supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0")
    workers = answers(port_of(program))
    program.signal(signal.SIGKILL)
    program.status()
    wait_until(lambda: not any(map(alive, workers.values())))


def test_a_worker_that_does_not_stop_is_killed_when_the_grace_is_over(start: Start) -> None:
    program = start(
        "supervisor", "1", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_MODE="deaf", EXAMPLE_GRACE="200ms"
    )
    workers = answers(port_of(program), 1)
    program.signal(signal.SIGTERM)
    assert program.status() == 0
    assert not alive(workers[1])


def test_a_second_signal_kills_workers_and_supervisor_at_once(start: Start) -> None:
    program = start("supervisor", "1", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_MODE="deaf", EXAMPLE_GRACE="1h")
    workers = answers(port_of(program), 1)
    program.signal(signal.SIGTERM)
    wait_until(lambda: "stopping workers" in program.stderr())
    program.signal(signal.SIGTERM)
    assert program.status() == -signal.SIGTERM
    wait_until(lambda: not alive(workers[1]))


def test_a_supervisor_that_is_stopped_while_workers_start_leaves_none(start: Start, tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    mark = tmp_path / "mark"
    worker.write_text(
        "import os, signal\n"
        f"with open({str(mark)!r}, 'w') as mark:\n"
        "    mark.write(f'{os.getpid()}.')\n"
        "signal.pause()\n"
    )
    program = start("supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_WORKER=str(worker))
    wait_until(lambda: mark.exists() and mark.read_text().endswith("."))
    program.signal(signal.SIGTERM)
    assert program.status() == 0
    assert not alive(int(mark.read_text()[:-1]))


def test_a_port_in_use_is_one_sentence_and_no_worker_starts(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = start("supervisor", "2", EXAMPLE_LISTEN=f"127.0.0.1:{port}")
        assert program.status() == 1
    assert program.stderr() == (
        f"example: Cannot listen on 127.0.0.1:{port}: address already in use.\ngrpc imported: False\n"
    )


def test_a_port_that_other_workers_share_is_in_use_too(start: Start) -> None:
    first = start("supervisor", "1", EXAMPLE_LISTEN="127.0.0.1:0")
    port = port_of(first)
    second = start("supervisor", "1", EXAMPLE_LISTEN=f"127.0.0.1:{port}")
    assert second.status() == 1


def test_nobody_else_can_take_the_port_while_no_worker_lives(start: Start) -> None:
    program = start("supervisor", "1", EXAMPLE_LISTEN="127.0.0.1:0")
    port = port_of(program)
    worker = answers(port, 1)[1]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not alive(worker))
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="Address already in use"):
            thief.bind(("127.0.0.1", port))


def test_a_port_with_the_remains_of_old_connections_can_be_taken_again(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # who closes first keeps the remains
            client.recv(1)
    assert port_of(start("supervisor", "1", EXAMPLE_LISTEN=f"127.0.0.1:{port}")) == port


def test_the_supervisor_serves_the_sum_of_the_workers_metrics(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    folder = tmp_path / "temporary"
    folder.mkdir()
    program = start(
        "supervisor", "2", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_METRICS_LISTEN=listen, TMPDIR=str(folder)
    )
    port = port_of(program)
    workers = answers(port, 30)
    assert set(workers) == {1, 2}

    def handled() -> float:
        page = urllib.request.urlopen(f"http://{listen}/metrics", timeout=5).read().decode()
        labels = 'grpc_code="OK",grpc_method="Answer",grpc_service="example.v1.Example"'
        sample = f"grpc_server_handled_total{{{labels}}} "
        return float(next(line for line in page.splitlines() if line.startswith(sample)).rpartition(" ")[2])

    assert handled() == 30
    os.kill(workers[1], signal.SIGKILL)
    wait_until(lambda: answers(port, 4).get(1, workers[1]) != workers[1])
    assert handled() > 30, "what the dead one counted still counts"
    assert not (next(folder.iterdir()) / f"gauge_livesum_{workers[1]}.db").exists(), (
        "it has nothing in flight"
    )
    program.signal(signal.SIGTERM)
    assert program.status() == 0
    assert list(folder.iterdir()) == [], "the files are gone too"


def test_metrics_that_cannot_be_served_are_one_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        program = start("supervisor", "1", EXAMPLE_LISTEN="127.0.0.1:0", EXAMPLE_METRICS_LISTEN=listen)
        assert program.status() == 1
    assert program.stderr().startswith(
        f"example: the metrics cannot be served on {listen}: Address already in use\n"
    )


def test_what_a_killed_supervisor_left_is_removed_by_the_next_and_what_is_in_use_is_not(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    foreign = folder / "keybridge-metrics-foreign"
    foreign.mkdir(parents=True)
    variables = {"EXAMPLE_LISTEN": "127.0.0.1:0", "TMPDIR": str(folder)}
    variables["EXAMPLE_METRICS_LISTEN"] = "127.0.0.1:0"

    def folders() -> set[Path]:
        return set(folder.iterdir()) - {foreign}

    killed = start("supervisor", "1", **variables)
    port_of(killed)
    [left] = folders()
    killed.signal(signal.SIGKILL)
    killed.status()

    second = start("supervisor", "1", **variables)
    port_of(second)
    [used] = folders()
    assert used != left
    third = start("supervisor", "1", **variables)
    port_of(third)
    assert used in folders()
    assert len(folders()) == 2
    for program in (second, third):
        program.signal(signal.SIGTERM)
        assert program.status() == 0
    assert list(folder.iterdir()) == [foreign], "a folder without a lock is nobody's to remove"
