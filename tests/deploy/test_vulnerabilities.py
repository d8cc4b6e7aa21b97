"""What the check of the lock file says: of what is known, of nothing, and where nobody answers."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy import vulnerabilities

FOUND = {"id": "PYSEC-2026-1", "fix_versions": ["2.0", "1.9.1"], "aliases": []}


def answered(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> None:
    """pip-audit's answer, in its own form."""

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, 1, stdout, stderr)

    monkeypatch.setattr(subprocess, "run", run)


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_what_is_known_is_named_with_its_mend_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    well = {"name": "well", "version": "1.0", "vulns": []}
    ill = {"name": "ill", "version": "1.0", "vulns": [FOUND, {"id": "PYSEC-2026-2", "fix_versions": []}]}
    answered(monkeypatch, report(well, ill))
    assert vulnerabilities.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "Known vulnerabilities:",
        "  ill 1.0: PYSEC-2026-1, mended in 2.0, 1.9.1",
        "  ill 1.0: PYSEC-2026-2, mended in none yet",
    ]


def test_nothing_known_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, report({"name": "well", "version": "1.0", "vulns": []}))
    assert vulnerabilities.main() == 0
    assert capsys.readouterr().out == "Known vulnerabilities: none in 1 packages.\n"


def test_what_the_database_does_not_know_is_named_and_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = {"name": "odd", "skip_reason": "not found on PyPI: odd (1.0)"}
    answered(monkeypatch, report({"name": "well", "version": "1.0", "vulns": []}, skipped))
    assert vulnerabilities.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "Known vulnerabilities: not checked, because the database doesn't know them:",
        "  odd: not found on PyPI: odd (1.0)",
        "Known vulnerabilities: none in 1 packages.",
    ]


@pytest.mark.parametrize("packages", [[], [{"name": "odd", "skip_reason": "not found"}]])
def test_where_nothing_was_checked_nothing_is_called_free_of_vulnerabilities(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], packages: list[dict[str, Any]]
) -> None:
    answered(monkeypatch, report(*packages))
    assert vulnerabilities.main() == 0
    told = f"not checked, because the database that answered knows none of {len(packages)} packages."
    assert capsys.readouterr().out == f"Known vulnerabilities: {told}\n"


@pytest.mark.parametrize(
    ("locked", "told"),
    [
        ("requests==2.19.0", "does not contain a hash"),
        ("not a requirement !!!", "contains invalid specifier"),
        (None, "invalid requirements input"),
    ],
)
def test_a_lock_that_cannot_be_checked_fails_and_the_network_is_not_blamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], locked: str | None, told: str
) -> None:
    lock = tmp_path / "requirements.lock"
    if locked is not None:
        lock.write_text(locked + "\n")
    assert vulnerabilities.main(lock) == 1
    said = capsys.readouterr().out
    assert said.startswith("Known vulnerabilities: not checked, because pip-audit failed:\n")
    assert told in said


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("requests.exceptions.ConnectionError: name or service not known", 0),
        ("requests.exceptions.ReadTimeout: read timed out", 0),
        ("ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another", 0),
        ("requests.exceptions.SSLError: certificate verify failed", 1),
        ("pip_audit._service.interface.ServiceError", 1),
        ("/usr/bin/python: No module named pip_audit", 1),
        ("", 1),
    ],
)
def test_only_a_database_that_cannot_be_reached_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, last: str, status: int
) -> None:
    answered(monkeypatch, "", f"Traceback (most recent call last):\n{last}\n")
    assert vulnerabilities.main() == status


class Database(BaseHTTPRequestHandler):
    """What OSV would answer: of the package "ill" it knows something, and of no other one."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = query["package"]
        fixed = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "2.0"}]}]}
        vulnerability = {"id": "PYSEC-2026-1", "summary": "ill", "affected": [fixed]}
        found = {"vulns": [vulnerability]} if (package["name"], query["version"]) == ("ill", "1.0") else {}
        answer = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing: it is a test's."""


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """The environment in which pip-audit asks one on the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1/query"
    try:
        yield {
            **os.environ,
            "NO_PROXY": "127.0.0.1",
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": url,
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def locked(folder: Path, *packages: str) -> Path:
    lock = folder / "requirements.lock"
    lock.write_text("".join(f"{package} --hash=sha256:{'0' * 64}\n" for package in packages))
    return lock


def test_a_database_that_is_reached_is_asked_for_every_package_of_the_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database() as environ:
        assert vulnerabilities.main(locked(tmp_path, "well==1.0", "ill==2.0"), environ) == 0
        assert capsys.readouterr().out == "Known vulnerabilities: none in 2 packages.\n"
        assert vulnerabilities.main(locked(tmp_path, "well==1.0", "ill==1.0"), environ) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Known vulnerabilities:",
        "  ill 1.0: PYSEC-2026-1, mended in 2.0",
    ]


def test_where_nobody_answers_a_line_says_that_nothing_was_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = "http://127.0.0.1:1"
    environ = {**os.environ, "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": ""}
    assert vulnerabilities.main(environ=environ) == 0
    assert "not checked" in capsys.readouterr().out


def test_one_who_never_answers_does_not_hold_up_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(vulnerabilities, "_ALTOGETHER", 0.01)
    assert vulnerabilities.main(tmp_path / "no.lock") == 0
    assert "not checked" in capsys.readouterr().out
