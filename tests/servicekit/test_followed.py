"""Files that are followed while a service runs."""

import errno
import io
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from servicekit.errors import StartupError
from servicekit.followed import Followed
from tests.support.logged import lines


def follow(path: Path, every: float = 0, clock: Callable[[], float] | None = None) -> Followed[int]:
    chosen = {} if clock is None else {"clock": clock}
    return Followed(path, int, name="number", look_every=timedelta(seconds=every), **chosen)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "number").write_text("1")
    return tmp_path / "number"


def test_a_change_is_taken_up_without_a_restart_and_the_log_says_so(path: Path, output: io.StringIO) -> None:
    followed = follow(path)
    assert followed.current() == 1
    path.write_text("12")
    assert [followed.current(), followed.current()] == [12, 12]
    [line] = lines(output)
    assert (line["event"], line["file"]) == ("file reloaded", str(path))


def test_a_file_that_takes_another_s_place_is_a_change_though_it_looks_the_same(path: Path) -> None:
    followed = follow(path)
    facts = path.stat()
    (path.parent / "new").write_text("2")
    os.utime(path.parent / "new", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (path.parent / "new").rename(path)
    assert followed.current() == 2


def test_a_file_that_was_written_over_is_a_change_though_its_time_and_size_are_what_they_were(
    path: Path,
) -> None:
    followed = follow(path)
    facts = path.stat()
    while path.stat().st_ctime_ns == facts.st_ctime_ns:
        path.write_text("2")
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert followed.current() == 2


def test_a_change_that_could_not_be_read_at_once_is_taken_up_as_soon_as_it_can_be(
    path: Path, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    followed = follow(path)
    path.write_text("12")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", exhausted)
        assert [followed.current(), followed.current()] == [1, 1]
    assert followed.current() == 12
    assert [line["level"] for line in lines(output)] == ["warning", "info"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda path: path.write_text("half"), "can't be used: invalid literal"),
        (lambda path: path.write_bytes(b"\xff"), "is not text"),
        (Path.unlink, "can't be read: No such file or directory"),
    ],
)
def test_what_cannot_be_used_leaves_the_former_content_in_force_and_the_log_says_so_once(
    path: Path, output: io.StringIO, harm: Callable[[Path], object], sentence: str
) -> None:
    followed = follow(path)
    harm(path)
    assert [followed.current(), followed.current()] == [1, 1]
    [line] = lines(output)
    assert line["event"] == "the former content of a file stays in force"
    assert sentence in line["reason"]
    path.write_text("3")
    assert followed.current() == 3


def test_at_the_start_there_is_no_former_content(path: Path) -> None:
    path.write_text("half")
    with pytest.raises(StartupError, match=rf"The number {path} can't be used: invalid literal .*\."):
        follow(path)


def test_a_file_is_looked_at_no_more_often_than_was_said(path: Path) -> None:
    now = 100.0
    followed = follow(path, 1, lambda: now)
    path.write_text("12")
    now = 100.9
    assert followed.current() == 1
    now = 101.0
    assert followed.current() == 12
