"""The catalogue against the ccxt that is installed."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ccxt
import pytest

from bridgeservice.exchanges import catalogue as generator
from servicekit.catalogue import PATH, Catalogue


class Venue(SimpleNamespace):
    """As much of a ccxt exchange as the generator looks at."""

    def __init__(self, **differences: Any) -> None:
        defaults: dict[str, Any] = {
            "id": "venue",
            "name": "Venue",
            "alias": False,
            "requiredCredentials": {},
            "urls": {"api": "https://live.invalid", "test": None},
            "headers": {},
        }
        super().__init__(**{**defaults, **differences})


def test_the_committed_catalogue_is_what_the_installed_ccxt_gives() -> None:
    assert PATH.read_text(encoding="utf-8") == generator.render(), (
        "run python -m bridgeservice.exchanges.catalogue --write"
    )


def test_every_exchange_of_ccxt_is_found_and_paper_beside_them() -> None:
    catalogue = Catalogue.load()
    assert catalogue.ccxt_version == ccxt.__version__
    assert {exchange.id for exchange in catalogue.exchanges} == {*ccxt.exchanges, "paper"}


def test_what_is_required_is_what_ccxt_checks_for() -> None:
    catalogue = Catalogue.load()
    theirs = {ours: name for name, ours in generator.CREDENTIAL_NAMES.items()}
    for exchange_id in ccxt.exchanges:
        venue = getattr(ccxt, exchange_id)()
        exchange = catalogue.find(exchange_id)
        assert exchange is not None
        for name in exchange.required_credentials:
            assert not venue.check_required_credentials(error=False), (exchange_id, name)
            setattr(venue, theirs[name], "0x1")
        assert venue.check_required_credentials(error=False), exchange_id


def test_each_name_means_one_thing_only() -> None:
    served = set(ccxt.exchanges)
    assert not served & generator.RENAMED.keys()
    assert not served & generator.RETIRED.keys()
    assert not generator.RENAMED.keys() & generator.RETIRED.keys()
    assert set(generator.RENAMED.values()) <= served


def test_names_are_lower_case_and_sorted_so_that_a_diff_shows_one_change() -> None:
    data = json.loads(PATH.read_text(encoding="utf-8"))
    for part in ("exchanges", "retired"):
        ids = [entry["id"] for entry in data[part]]
        assert ids == sorted({name.lower() for name in ids})


def test_an_alias_that_ccxt_still_carries_becomes_an_alias_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class fresh(Venue):  # noqa: N801 - ccxt's classes are named like this
        pass

    class stale(fresh):  # noqa: N801
        def __init__(self) -> None:
            super().__init__(alias=True)

    monkeypatch.setattr(
        generator, "ccxt", SimpleNamespace(exchanges=["stale", "fresh"], stale=stale, fresh=fresh)
    )
    found = {exchange.id: exchange.aliases for exchange in generator.exchanges()}
    assert found == {"fresh": ("stale",), "paper": ()}


def test_a_credential_that_we_have_no_name_for_stops_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = Venue(requiredCredentials={"apiKey": True, "retina": True, "uid": False})
    monkeypatch.setattr(generator, "ccxt", SimpleNamespace(exchanges=["venue"], venue=lambda: venue))
    with pytest.raises(ValueError, match=r"venue requires .*\['retina'\]"):
        generator.exchanges()


def test_the_program_writes_prints_and_checks_the_same_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "exchanges.json"
    assert generator.main(["--write"], path=path) == 0
    assert generator.main(["--check"], path=path) == 0
    assert capsys.readouterr() == ("", "")
    assert generator.main([]) == 0
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


def test_a_drifted_file_fails_the_check_and_the_difference_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "exchanges.json"
    drifted = PATH.read_text(encoding="utf-8").replace('"name": "Kraken"', '"name": "Crayfish"')
    path.write_text(drifted, encoding="utf-8")
    assert generator.main(["--check"], path=path) == 1
    shown = capsys.readouterr().err
    assert "Crayfish" in shown
    assert "--write" in shown


def test_the_module_runs_as_a_program() -> None:
    program = [sys.executable, "-m", "bridgeservice.exchanges.catalogue", "--check"]
    ended = subprocess.run(program, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
