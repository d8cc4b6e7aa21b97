"""The locks by which users are counted."""

import os
from pathlib import Path

from servicekit.embedded_postgres.locks import FileLock


def test_the_last_of_several_users_gets_it_alone(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.shared()
    second.shared()
    assert not first.exclusive()
    first.release()
    assert second.exclusive()
    second.release()
    second.release()


def test_a_copy_in_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "lock")
    assert first.exclusive()
    assert not os.get_inheritable(first._descriptor)
    copy = os.dup(first._descriptor)
    first.release()
    second = FileLock(tmp_path / "lock")
    assert second.exclusive()
    second.release()
    os.close(copy)
