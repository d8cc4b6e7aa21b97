"""What other programs of the machine can see of ours: no secret in a command line, none in an environment.

Both services as `keybridge up` starts them, workers as `--workers` does, and every process that any of them starts.
"""

import asyncio
import re
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from keyservice.sealing import MasterKey
from servicekit.database.url import DatabaseUrl
from tests.evidence.planted import Planted
from tests.keybridge.conftest import Start
from tests.support.service_process import StartService, raw_url

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system has no /proc")


def plant(planted: Planted) -> dict[str, str]:
    """The secrets that both services take, and how they are told them."""
    return {
        "KEYSERVICE_ENCRYPTION_KEYS": planted.add("a master key", MasterKey.generate()),
        "ENCRYPTION_KEY": planted.add("an old key", MasterKey.generate()),
        "BRIDGESERVICE_PAGE_TOKEN_KEY": planted.new("a key of page tokens"),
        "BRIDGESERVICE_PROXY_URL": f"http://user:{planted.new('a password of a proxy')}@127.0.0.1:1",
    }


def family(pid: int) -> list[int]:
    """A process, and all that it started, and all that those started."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # A thread may end meanwhile.
            children.extend(int(each) for each in (task / "children").read_text().split())
    return [pid, *(each for child in children for each in family(child))]


def seen(pid: int) -> tuple[bytes, bytes]:
    """Its command line, and its environment, which whoever is not root is not even shown."""
    process = Path(f"/proc/{pid}")
    try:
        return (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
    except PermissionError:
        return (process / "cmdline").read_bytes(), b""


def runs(pid: int, what: str) -> bool:
    return what.encode() in seen(pid)[0]


def assert_unseen(planted: Planted, pids: list[int]) -> None:
    for pid in pids:
        command_line, environ = seen(pid)
        assert planted.found_in(command_line, environ) == [], command_line


@pytest.mark.parametrize("told", [True, False], ids=["told all secrets", "with a master key of its own"])
async def test_nothing_that_up_starts_shows_a_secret_and_the_bridge_is_not_told_the_master_key(
    keybridge: Start, told: bool
) -> None:
    planted = Planted()
    variables: Mapping[str, str] = plant(planted) if told else {}
    control = f"control_{secrets.token_hex(8)}"
    running = await keybridge("up", KEYBRIDGE_ENV="development", LC_NAME=control, **variables)
    await running.says("Ctrl-C stops everything")
    pids = family(running.process.pid)
    for service in ("keyservice", "bridgeservice", "postgres"):
        assert any(runs(pid, service) for pid in pids), service
    assert_unseen(planted, pids)
    # What was not taken out is there to be seen, so the search does find.
    [bridge] = [pid for pid in pids if runs(pid, "bridgeservice")]
    assert control.encode() in seen(bridge)[1] or seen(bridge)[1] == b""
    # Nor where it is, or where there is a token by which to be taken for KeyService.
    for what in (b"ENCRYPTION_KEY", b"encryption-keys", b"KEYSERVICE_", b"keyservice.token"):
        assert what not in seen(bridge)[1]
    assert await running.interrupt() == 0


async def test_workers_and_their_parent_show_none_either(
    start_service: StartService, database_url: DatabaseUrl
) -> None:
    planted = Planted()
    variables = {name: value for name, value in plant(planted).items() if not name.startswith("BRIDGE")}
    process = start_service("keyservice", "--workers", "2", DATABASE_URL=raw_url(database_url), **variables)
    await asyncio.to_thread(process.wait_ready)
    pids = family(process.pid)
    assert len([pid for pid in pids if runs(pid, "--worker")]) == 3
    assert_unseen(planted, pids)
    assert re.search(rb"PATH=[^\0]", seen(process.pid)[1]) or seen(process.pid)[1] == b""
