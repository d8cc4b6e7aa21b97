"""What README and the rest say is there, is there."""

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
