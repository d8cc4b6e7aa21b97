"""What README and the rest say is there, is there."""

import ast
import re
from pathlib import Path

import pytest

from bridgeservice.settings import BridgeServiceSettings
from keyservice.settings import KeyServiceSettings
from servicekit.config import describe

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name
)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "protos" / "generate.mk").read_text()
    for target in re.findall(r"\bmake ([a-z]+)", document.read_text()):
        assert re.search(rf"^{target}:", makefiles, flags=re.M), target


def test_every_setting_that_the_readme_names_exists() -> None:
    known = {
        setting.name for each in (KeyServiceSettings, BridgeServiceSettings) for setting in describe(each)
    }
    known |= {"DATABASE_URL", "NAME_FILE"}
    named = set(
        re.findall(
            r"`((?:KEYSERVICE|BRIDGESERVICE|KEYBRIDGE|DB|DATABASE)_[A-Z_]+)`", DOCUMENTS[0].read_text()
        )
    )
    assert named
    assert named <= known


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_promise_of_security_names_its_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    promised = text.partition("## What is promised")[2].partition("## What is not promised")[0]
    rows = [line for line in promised.splitlines() if line.startswith("|")]
    promises = [row for row in rows if row not in ("| promise | kept by |", "|---|---|")]
    assert len(promises) > 20
    kept = re.compile(r"\| .+ \| `tests/[\w/]+\.py::test_\w+` \|")
    assert [row for row in promises if not kept.fullmatch(row)] == []


def test_every_test_that_a_document_names_exists() -> None:
    for document in DOCUMENTS:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", document.read_text()):
            source = ROOT / file
            assert source.exists(), f"{document.name}: {file}"
            defined = {
                each.name
                for each in ast.walk(ast.parse(source.read_text()))
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name in defined, f"{document.name}: {file}::{name}"
