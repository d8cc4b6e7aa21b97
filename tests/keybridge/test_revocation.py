"""Changes of the deny-list, whoever makes them."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from keybridge import revocation
from servicekit.errors import StartupError
from tests.support.places import ROOT

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that another account may come to, and has."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, NOBODY, NOBODY)
        yield Path(made)


def deny(file: Path, token: str) -> None:
    revocation.change(file, lambda denied: denied.with_token(token))


def as_nobody(file: Path, token: str) -> str:
    """What it said; in a process of its own, which cannot come back from there."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        deny(file, token)
    except StartupError as refused:
        return str(refused)
    return ""


def said_to_nobody(file: Path, token: str) -> str:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(as_nobody, (file, token))


@pytest.mark.skipif(not ROOT, reason="only root can be two accounts")
def test_after_a_revocation_by_root_the_owner_can_still_revoke(folder: Path) -> None:
    file = folder / "deny-list.json"
    file.write_text("{}")
    os.chown(file, NOBODY, NOBODY)
    file.chmod(0o640)
    deny(file, "by root")
    assert said_to_nobody(file, "by its owner") == ""
    assert revocation.read(file).tokens == {"by root", "by its owner"}
    assert list(folder.iterdir()) == [file]


@pytest.mark.skipif(not ROOT, reason="only root can be two accounts")
def test_who_may_not_open_the_folder_is_told_so_in_a_sentence(folder: Path) -> None:
    os.chown(folder, 0, 0)
    folder.chmod(0o711)
    file = folder / "deny-list.json"
    assert said_to_nobody(file, "any") == f"The folder of {file} can't be opened: Permission denied."


def test_of_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deny-list.json"
    tokens = [str(number) for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(deny, file, token) for token in tokens]:
            done.result()
    assert revocation.read(file).tokens == set(tokens)
