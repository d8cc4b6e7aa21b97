"""What is in the wheel, beyond the modules."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("package", ["servicekit", "keyservice", "bridgeservice", "keybridge"])
def test_every_package_says_that_it_is_typed(package: str, wheel: set[str]) -> None:
    assert f"{package}/py.typed" in wheel


def test_a_wheel_is_the_same_to_the_byte_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    made = []
    for name, mask in (("here", 0o022), ("elsewhere", 0o077)):
        tree = tmp_path / name
        left_out = shutil.ignore_patterns(
            ".git", ".venv", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"
        )
        shutil.copytree(
            ROOT, tree, ignore=left_out, copy_function=shutil.copyfile, ignore_dangling_symlinks=True
        )
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tree / "out")]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run(build, cwd=tree, check=True, capture_output=True, env=environ, umask=mask)
        [path] = (tree / "out").glob("*.whl")
        made.append(path.read_bytes())
    assert made[0] == made[1]
