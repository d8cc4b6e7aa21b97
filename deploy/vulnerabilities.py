"""Holds what the lock file names against the database of known vulnerabilities, with pip-audit.

``python -m deploy.vulnerabilities``. The exit status is 1 when something known is found. Where the database can't be
reached, or is one that knows none of our packages, a line says that nothing was checked, and that is no failure: a
check without a network has to come to its end. Whatever else keeps pip-audit from its work is one.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"

_ONE_ANSWER, _ALTOGETHER = 5, 60
_NOT_CHECKED = "Known vulnerabilities: not checked, because"
_UNREACHABLE = "their database can't be reached"
# How pip-audit ends then, in its last line: with requests' own exception, or with a word of advice.
_NO_ANSWER = re.compile(
    r"requests\.exceptions\.(ConnectionError|ProxyError|ConnectTimeout|ReadTimeout): "
    r"|.*Tip: your network may be blocking this service"
)


def main(lock: Path = LOCK, environ: Mapping[str, str] | None = None) -> int:
    """Ask for every package of the lock; say what is known of them."""
    try:
        asked = subprocess.run(  # noqa: S603 - our own command line
            _command(lock), capture_output=True, text=True, timeout=_ALTOGETHER, check=False, env=environ
        )
    except subprocess.TimeoutExpired:
        return _say(f"{_NOT_CHECKED} {_UNREACHABLE}.", 0)
    try:
        report = json.loads(asked.stdout)
    except json.JSONDecodeError:
        return _failed(asked.stderr.strip())
    return _told(report["dependencies"])


def _failed(errors: str) -> int:
    if _NO_ANSWER.match(errors.rpartition("\n")[2]):
        return _say(f"{_NOT_CHECKED} {_UNREACHABLE}.", 0)
    return _say(f"{_NOT_CHECKED} pip-audit failed:\n{errors}", 1)


def _told(packages: Sequence[Mapping[str, Any]]) -> int:
    found = list(known(packages))
    skipped = [f"  {each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]
    checked = len(packages) - len(skipped)
    if not checked:
        return _say(f"{_NOT_CHECKED} the database that answered knows none of {len(packages)} packages.", 0)
    if skipped:
        _say("\n".join([f"{_NOT_CHECKED} the database doesn't know them:", *skipped]), 0)
    if found:
        return _say("\n".join(["Known vulnerabilities:", *found]), 1)
    return _say(f"Known vulnerabilities: none in {checked} packages.", 0)


def known(packages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each vulnerability in pip-audit's report, with the versions in which it is mended."""
    for package in packages:
        for each in package.get("vulns", ()):
            mended = ", ".join(each["fix_versions"]) or "none yet"
            yield f"  {package['name']} {package['version']}: {each['id']}, mended in {mended}"


def _command(lock: Path) -> list[str]:
    options = ["--require-hashes", "--disable-pip", "--timeout", str(_ONE_ANSWER)]
    return [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(lock), *options),
        *("--format", "json", "--progress-spinner", "off"),
    ]


def _say(sentence: str, status: int) -> int:
    sys.stdout.write(f"{sentence}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
