"""The contracts keep buf's rules, and a change that breaks what was released is caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUF = str(Path(sys.executable).with_name("buf"))


# Whoever runs the tests from a git hook, or signs his commits, does neither in the repositories made here.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
ENVIRONMENT |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def _run(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def _breaking(directory: Path) -> subprocess.CompletedProcess[str]:
    return _run(
        directory,
        "make",
        "-s",
        "-f",
        "protos/generate.mk",
        "breaking",
        f"TOOLS={Path(sys.executable).parent}",
    )


@pytest.mark.parametrize(
    "check", [("lint",), ("format", "--diff", "--exit-code")], ids=lambda check: check[0]
)
def test_buf_finds_nothing_to_say(root: Path, check: tuple[str, ...]) -> None:
    said = _run(root, BUF, *check)
    assert (said.stdout, said.stderr, said.returncode) == ("", "", 0)


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Path:
    """A repository of its own with the contracts committed and no tag."""
    shutil.copytree(root / "protos", tmp_path / "protos")
    shutil.copy(root / "buf.yaml", tmp_path)
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message", "Contracts")
    return tmp_path


def _git(directory: Path, *argv: str) -> None:
    who = ("-c", "user.name=tester", "-c", "user.email=tester@localhost")
    said = _run(directory, "git", *who, *argv)
    assert said.returncode == 0, said.stderr


def _remove_a_field(repository: Path) -> None:
    contract = repository / "protos" / "keyservice" / "v1" / "client.proto"
    lines = contract.read_text().splitlines(keepends=True)
    contract.write_text("".join(line for line in lines if "string external_id" not in line))


def test_without_a_release_the_comparison_says_so_in_one_sentence(repository: Path) -> None:
    said = _breaking(repository)
    assert said.returncode == 0
    assert (
        said.stdout
        == "There is no release tag (v*) yet, so there is nothing that the contracts could break.\n"
    )


def test_a_removed_field_is_caught_against_the_release(repository: Path) -> None:
    _git(repository, "tag", "v0.1.0")
    assert _breaking(repository).returncode == 0
    _remove_a_field(repository)
    said = _breaking(repository)
    assert said.returncode != 0
    assert "external_id" in said.stdout


def test_the_comparison_is_with_the_latest_release_and_works_in_a_worktree(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for tag in ("v0.9.0", "v0.10.0-rc1"):
        _git(repository, "tag", tag)
    _remove_a_field(repository)
    _git(repository, "commit", "--quiet", "--all", "--message", "Remove a field")
    _git(repository, "tag", "v0.10.0")
    worktree = tmp_path_factory.mktemp("worktree")
    _git(repository, "worktree", "add", "--quiet", "--detach", str(worktree))
    said = _breaking(worktree)
    assert (said.returncode, said.stdout) == (0, "")
