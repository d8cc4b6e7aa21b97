"""Files under KEYBRIDGE_HOME: whole or not at all, and nobody else's."""

import errno
import os
import stat
from pathlib import Path

import pytest

from keybridge import private_files
from servicekit.errors import StartupError


def test_what_is_written_is_there_as_a_whole_and_for_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file"
    private_files.write(file, "one\n")
    private_files.write(file, "two\n")
    assert private_files.read(file) == "two\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["file"]


def test_what_was_open_to_others_is_closed_when_it_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    file.chmod(0o666)
    private_files.write(file, "two")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_to_stay_as_it_was_keeps_its_owner_and_who_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    private_files.write(file, "one", as_it_was=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    other = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(file, other, -1)
    private_files.write(file, "two", as_it_was=True)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode), file.stat().st_uid) == ("two", 0o644, other)


def test_a_file_that_can_not_be_left_to_its_owner_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_permitted(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    file = tmp_path / "file"
    file.write_text("one")
    monkeypatch.setattr(os, "chown", not_permitted)
    with pytest.raises(StartupError, match="file can't be written: Operation not permitted"):
        private_files.write(file, "two", as_it_was=True)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["one"]


def test_what_is_made_once_is_never_made_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    private_files.make(file, lambda: "first")
    private_files.make(file, lambda: pytest.fail("it is there"))
    assert private_files.read(file) == "first"


def test_what_somebody_else_makes_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"

    def slow() -> str:
        file.write_text("the faster one's")
        return "the slower one's"

    private_files.make(file, slow)
    assert private_files.read(file) == "the faster one's"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_read_or_written_is_one_sentence(tmp_path: Path) -> None:
    assert private_files.read(tmp_path / "absent") == ""
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(StartupError, match="file is not text"):
        private_files.read(tmp_path / "file")
    with pytest.raises(StartupError, match="can't be read: Is a directory"):
        private_files.read(tmp_path)
    with pytest.raises(StartupError, match="can't be written: File exists"):
        private_files.write(tmp_path / "file" / "below", "x")
