"""What the import rules can't express of the map of the house."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("servicekit", "keyservice", "bridgeservice", "keybridge", "migrations")
LONGEST_FILE = 330


def sources() -> Iterator[Path]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if not path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                yield path


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
class TestEveryFile:
    """Rules for each file of the project's own."""

    def test_opens_with_what_it_owns(self, path: Path) -> None:
        text = path.read_text()
        assert not text or ast.get_docstring(ast.parse(text)), (
            "a module opens with a sentence on what it owns"
        )

    def test_can_be_held_in_the_head(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_use_cases_know_neither_grpc_nor_protobuf_nor_sql() -> None:
    """They are what the servicer calls; these are the doors and the recipe, which may know more."""
    doors = {"bridge", "bridge_outcomes", "store", "exchanges", "__main__", "settings", "models", "v1"}
    for service in ("keyservice", "bridgeservice"):
        for path in sorted((ROOT / service).rglob("*.py")):
            if path.stem.endswith(("servicer", "conversion")):
                continue
            if doors & {path.stem, *path.relative_to(ROOT / service).parts}:
                continue
            foreign = {name.split(".")[0] for name in imported(path)} & {
                "grpc",
                "google",
                "sqlalchemy",
                "asyncpg",
            }
            assert not foreign, f"{path.relative_to(ROOT)} imports {', '.join(sorted(foreign))}"


def test_the_client_and_the_stubs_need_nothing_of_the_services() -> None:
    """`pip install keybridge` brings these packages only."""
    program = (
        "import sys, grpc\n"  # which imports its companions where they are installed
        "before = set(sys.modules)\n"
        "import keyservice.v1.key_service_pb2_grpc, bridgeservice.v1.trading_bridge_pb2_grpc, keybridge.client\n"
        "print(*(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    distributions = packages_distributions()
    needed = {package for module in done.stdout.split() for package in distributions.get(module, ())}
    assert needed <= {"googleapis-common-protos", "grpcio", "protobuf"}
