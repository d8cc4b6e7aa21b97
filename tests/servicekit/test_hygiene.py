"""What a process does for itself before it handles a secret, seen from inside and from outside."""

import json
import os
import resource
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from servicekit import hygiene

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the system has no /proc")

HARDENED = """
import ctypes, json, os, resource, sys
from servicekit import hygiene
soft = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
hygiene.harden()
hygiene.harden()
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) if sys.platform == "linux" else 0
limits = [resource.getrlimit(each) for each in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)]
print(json.dumps([dumpable, *limits, os.listdir("/dev/fd") != []]))
"""

TAKEN = """
import os, subprocess, sys
from servicekit import hygiene
taken = hygiene.take({"A_SECRET", "ANOTHER"})
assert "A_SECRET" not in os.environ and os.environ["KEPT"] == "kept"
assert taken["KEPT"] == "kept"
sys.stdout.write(taken["A_SECRET"] + "\\n")
sys.stdout.write(subprocess.run(["env"], capture_output=True, text=True, check=True).stdout)
sys.stdout.flush()
sys.stdin.read()
"""


def run(program: str, *argv: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *argv],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_hardened_process_leaves_no_core_dump_and_may_open_all_the_files_that_the_system_allows() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    said, _ = run(HARDENED, "64").communicate(timeout=60)
    dumpable, core, files, has_files = json.loads(said)
    assert (dumpable, core, has_files) == (0, [0, 0], True)
    assert files == [min(most, 65_536) if most > 0 else 65_536, most]


def test_more_files_than_we_would_ask_for_are_left_as_they_are() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 65_537 and most != resource.RLIM_INFINITY:
        pytest.skip("the system does not allow so many")
    said, _ = run(HARDENED, "65537").communicate(timeout=60)
    assert json.loads(said)[2][0] == 65_537


@on_linux
def test_a_secret_that_was_taken_is_in_no_child_and_not_in_what_the_system_shows() -> None:
    secret = secrets.token_hex(16)
    process = run(TAKEN, A_SECRET=secret, KEPT="kept")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == secret
    seen = ""
    while "KEPT=kept" not in seen:
        seen += process.stdout.readline()
    environ = Path(f"/proc/{process.pid}/environ").read_bytes()
    rest, _ = process.communicate(timeout=60)
    assert b"KEPT=kept" in environ
    assert secret.encode() not in environ
    assert secret not in seen + rest
    assert process.returncode == 0


def test_a_mapping_of_one_s_own_is_taken_from_just_so() -> None:
    environ = {"A_SECRET": "x", "KEPT": "kept"}
    assert hygiene.take({"A_SECRET"}, environ) == {"A_SECRET": "x", "KEPT": "kept"}
    assert environ == {"KEPT": "kept"}


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def allow(files: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))

    return allow


def test_connections_never_take_the_files_that_a_process_needs_itself(allowed: Callable[[int], None]) -> None:
    for files, room in ((1024, 512), (10_000, 9488), (100, 1), (resource.RLIM_INFINITY, 10_000)):
        allowed(files)
        assert hygiene.room_for_connections(10_000) == room
