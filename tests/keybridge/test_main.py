"""The command itself: its help, its statuses, and what it passes on."""

import pytest

from tests.keybridge.conftest import Start


async def test_without_arguments_it_shows_what_there_is(keybridge: Start) -> None:
    running = await keybridge(measured=True)
    assert await running.ends() == 2
    for command in ("up", "keyservice", "bridgeservice", "db"):
        assert f" {command} " in running.said


@pytest.mark.parametrize("service", ["keyservice", "bridgeservice"])
async def test_a_service_shows_its_own_help_with_every_setting(keybridge: Start, service: str) -> None:
    running = await keybridge(service, "--help", measured=True)
    assert await running.ends() == 0
    assert "--workers" in running.said
    assert f"{service.upper()}_LISTEN=127.0.0.1:5005" in running.said


async def test_a_service_says_itself_what_is_wrong(keybridge: Start) -> None:
    running = await keybridge("bridgeservice", "--workers", "2")
    assert await running.ends() == 2
    assert "the bridge keeps its connectors in memory" in running.said


async def test_the_key_service_reads_its_settings(keybridge: Start) -> None:
    running = await keybridge("keyservice", KEYSERVICE_LISTEN="nowhere")
    assert await running.ends() == 2
    assert running.said.startswith("keyservice: KEYSERVICE_LISTEN")


async def test_an_unknown_command_is_refused(keybridge: Start) -> None:
    running = await keybridge("upp", measured=True)
    assert await running.ends() == 2
    assert "Traceback" not in running.said
