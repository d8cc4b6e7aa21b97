"""The command line of both services: help, refusals, and which of the two things a process does."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import SettingsConfigDict

import bridgeservice.__main__
import keyservice.__main__
from servicekit import command_line, logs
from servicekit.config import Address, ServiceSettings
from servicekit.errors import StartupError
from tests.support.service_process import StartService

MAINS: dict[str, Callable[[list[str]], int]] = {
    "keyservice": keyservice.__main__.main,
    "bridgeservice": bridgeservice.__main__.main,
}
each_service = pytest.mark.parametrize("service", list(MAINS))


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    listen: Address = Address("127.0.0.1", 50059)
    """The address that the example answers on."""


async def nothing(settings: Settings, shares_port: bool) -> None:
    """Serve nobody."""


def run(*argv: str, serve: Any = nothing, because: str | None = None) -> int:
    return command_line.main(
        "example", Settings, serve, about="An example.", one_process_because=because, argv=argv
    )


@each_service
def test_help_names_every_setting_with_its_default_and_meaning(
    service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        MAINS[service](["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    port = {"keyservice": 50051, "bridgeservice": 50052}[service]
    assert f"  {service.upper()}_LISTEN=127.0.0.1:{port}\n      The address that" in shown
    assert "  KEYBRIDGE_ENV=development\n" in shown
    assert "--workers N" in shown
    assert "--worker " not in shown.replace("--workers ", "")


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(f"--workers={number}")
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert f"argument --workers: should be a whole number from 1 on, not '{number}'" in shown


def test_a_service_with_a_memory_refuses_workers_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--workers", "2", because="it has a memory") == 2
    assert capsys.readouterr().err == "example: --workers is refused: it has a memory\n"
    assert run("--workers", "1", because="it has a memory") == 0


def test_the_bridge_says_why_it_refuses_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert MAINS["bridgeservice"](["--workers", "2"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("bridgeservice: --workers is refused: the bridge keeps its connectors in memory")


@each_service
def test_a_wrong_setting_is_one_sentence_and_status_2(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = f"{service.upper()}_NONSENSE"
    monkeypatch.setenv(variable, "1")
    assert MAINS[service]([]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{service}: {variable} is not a known setting")


@each_service
def test_a_database_that_stays_away_is_one_sentence_and_status_1(
    service: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    logging_restored: None,
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me@/keys?host={tmp_path}")
    monkeypatch.setenv(f"{service.upper()}_DB_START_TIMEOUT", "0s")
    assert MAINS[service]([]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{service}: The database at {tmp_path}:5432 can't be reached")


def test_what_serves_ends_with_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    async def fails(settings: Settings, shares_port: bool) -> None:
        raise StartupError("the sky is falling")

    assert run() == 0
    assert run(serve=fails) == 1
    assert capsys.readouterr().err == "example: the sky is falling\n"


@pytest.mark.parametrize(
    ("argv", "shares"), [((), False), (("--workers", "1"), False), (("--worker", "3"), True)]
)
def test_a_process_serves_itself_unless_it_has_workers(
    argv: tuple[str, ...], shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_LISTEN", "127.0.0.1:7000")
    told: list[tuple[Address, bool]] = []

    async def serve(settings: Settings, shares_port: bool) -> None:
        told.append((settings.listen, shares_port))

    assert run(*argv, serve=serve) == 0
    assert told == [(Address("127.0.0.1", 7000), shares)]


def test_a_parent_of_workers_is_told_all_that_it_needs_and_logs_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, logging_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"METRICS_LISTEN": "127.0.0.1:7001", "DRAIN_DELAY": "1s", "SHUTDOWN_GRACE": "2s"}
    for name, value in variables.items():
        monkeypatch.setenv(f"EXAMPLE_{name}", value)
    seen: dict[str, Any] = {}

    def supervise(argv: list[str], count: int, address: Address, **options: Any) -> int:
        seen.update(options, argv=argv, count=count, address=address)
        logs.get("example").info("a worker died")
        return 7

    monkeypatch.setattr(command_line, "supervise", supervise)
    assert run("--workers", "3") == 7
    assert seen["argv"] == [sys.executable, "-m", "example"]
    assert (seen["count"], seen["address"]) == (3, Address("127.0.0.1", 50059))
    assert seen["listen_variable"] == "EXAMPLE_LISTEN"
    assert seen["metrics_listen"] == Address("127.0.0.1", 7001)
    assert seen["grace"] == timedelta(seconds=8)
    assert seen["environ"]["EXAMPLE_DRAIN_DELAY"] == "1s"
    shown = capsys.readouterr()
    assert (shown.out, json.loads(shown.err)["event"]) == ("", "a worker died")


def test_a_process_that_nobody_sums_up_does_not_keep_its_metrics_in_files(
    start_service: StartService, tmp_path: Path
) -> None:
    variables = {"PROBE_BEGUN": str(tmp_path / "begun"), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    process = start_service("tests.support.probe_service", **variables)
    assert process.status() == 2
    [line] = process.errors()
    assert "PROMETHEUS_MULTIPROC_DIR is set" in line
