"""Who runs the server, and what it is given."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from servicekit.embedded_postgres import account
from servicekit.embedded_postgres.account import Account
from servicekit.errors import StartupError

STRANGER = Account("stranger", 54321, 54321)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_an_ordinary_user_runs_the_server_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account.dropped_to([]) is None
    assert account.passable() == 0o700


def test_root_drops_to_postgres_else_to_nobody(as_root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"postgres": 70, "nobody": 99}

    def entry(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", known[name], known[name], "", "/", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwnam", entry)
    assert account.dropped_to([]) == Account("postgres", 70, 70)
    del known["postgres"]
    assert account.dropped_to([]) == Account("nobody", 99, 99)
    del known["nobody"]
    with pytest.raises(StartupError, match="neither an account postgres nor nobody"):
        account.dropped_to([])


def test_data_that_is_there_is_served_by_its_owner(
    as_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = pwd.getpwuid(tmp_path.stat().st_uid)
    assert account.dropped_to([tmp_path]) == Account(owner.pw_name, owner.pw_uid, owner.pw_gid)

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(StartupError, match=f"belongs to user id {owner.pw_uid}, which has no account"):
        account.dropped_to([tmp_path])


@pytest.mark.parametrize("who", ["owner", "group", "other"])
def test_the_directory_that_stops_an_account_is_named(place: Path, who: str) -> None:
    outer = place / "outer"
    (outer / "inner").mkdir(parents=True)
    place.chmod(0o711)
    status = outer.stat()
    bits = {"owner": 0o677, "group": 0o767, "other": 0o776}
    accounts = {
        "owner": Account("x", status.st_uid, 54321),
        "group": Account("x", 54321, status.st_gid),
        "other": STRANGER,
    }
    outer.chmod(0o755)
    assert accounts[who].blocked_at(outer / "inner") is None
    outer.chmod(bits[who])
    try:
        assert accounts[who].blocked_at(outer / "inner") == outer
        with pytest.raises(StartupError, match=f"can't enter {outer}, under which it lies"):
            account.check_enterable(accounts[who], outer / "inner", "it lies")
    finally:
        outer.chmod(0o755)


def test_our_own_directory_is_taken_again_and_made_private(place: Path) -> None:
    (place / "ours").mkdir(mode=0o755)
    account.make_private(place / "ours", None, remedy="remove it")
    assert stat.S_IMODE((place / "ours").stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_someone_put_in_the_place_of_our_directory_is_refused(place: Path, kind: str) -> None:
    squatted = place / "squatted"
    if kind == "link":
        squatted.symlink_to(place)
    else:
        squatted.touch()
    with pytest.raises(StartupError, match=r"squatted is not a directory of our own .*: remove it\.$"):
        account.make_private(squatted, None, remedy="remove it")


def test_a_directory_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "theirs").mkdir()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(StartupError, match=rf"theirs belongs to another user \(id {owner}\): remove it"):
        account.make_private(place / "theirs", None, remedy="remove it")
