"""Exchanges from other packages."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bridgeservice.exchanges import plugins
from bridgeservice.exchanges.plugins import GROUP, Plugin
from servicekit.catalogue import Catalogue
from servicekit.errors import StartupError
from tests.support.example_exchange import corner_exchange
from tests.support.example_exchange.corner_exchange import PLUGIN

EXAMPLE = Path(__file__).parents[2] / "support" / "example_exchange"

USE_IT = """
import asyncio
import sys
from bridgeservice.exchanges import plugins
from bridgeservice.exchanges.exchange import Environment, Owner
from bridgeservice.exchanges.options import Options
from bridgeservice.exchanges.registry import Registry
from servicekit.catalogue import Catalogue
from servicekit.credentials import Credentials

async def main():
    registry = Registry(Catalogue.load(), Options(), built_in={}, plugged_in=plugins.installed())
    corner = await registry.get("corner", Environment.LIVE)
    session = corner.session(Credentials(api_key="any"), Owner("a", "b"))
    print(registry.catalogue.find("corner").name, (await session.balances())[0].total)
    print(await registry.capabilities("corner"), "ccxt" in sys.modules)
    await registry.close()

asyncio.run(main())
"""


def test_a_package_that_is_installed_is_found_and_served(tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [
            *install,
            "--no-build-isolation",
            "--target",
            str(tmp_path / "site"),
            str(copied(EXAMPLE, tmp_path)),
        ],
        check=True,
    )
    here = Path.cwd()

    done = subprocess.run(
        [sys.executable, "-c", USE_IT],
        env={"PYTHONPATH": f"{here}:{tmp_path / 'site'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == ["Corner 1", "['fetchBalance', 'fetchTicker'] False"], done.stderr


def copied(package: Path, where: Path) -> Path:
    """A copy to build from, so that the build writes nothing into the source tree."""
    copy = where / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "corner_exchange.py"):
        (copy / name).write_text((package / name).read_text())
    return copy


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("tests.no_such_module:PLUGIN", "cannot be loaded"),
        ("tests.support.example_exchange.corner_exchange:NO_SUCH_NAME", "cannot be loaded"),
        ("tests.support.example_exchange.corner_exchange:SYMBOL", "is not a Plugin"),
        ("tests.support.example_exchange.corner_exchange:PLUGIN", "calls itself corner"),
    ],
)
def test_one_that_cannot_be_used_stops_the_start_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, value: str, complaint: str
) -> None:
    entry = EntryPoint(name="cornered", value=value, group=GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == GROUP else [])

    with pytest.raises(StartupError, match=complaint) as stopped:
        plugins.installed()
    assert "cornered" in str(stopped.value)


def test_one_whose_module_is_no_python_stops_the_start_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_exchange.py").write_text("def (:")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint(name="cornered", value="broken_exchange:PLUGIN", group=GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == GROUP else [])

    with pytest.raises(StartupError, match="cannot be loaded: SyntaxError"):
        plugins.installed()


def test_one_whose_id_nobody_could_write_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corner_exchange, "PLUGIN", named("Corner"))
    entry = EntryPoint(name="Corner", value=f"{corner_exchange.__name__}:PLUGIN", group=GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == GROUP else [])

    with pytest.raises(StartupError, match="small letters"):
        plugins.installed()


def test_it_takes_its_place_in_the_catalogue() -> None:
    catalogue = plugins.extended(Catalogue.load(), [PLUGIN])

    ids = [exchange.id for exchange in catalogue.exchanges]
    assert "corner" in ids
    assert ids == sorted(ids)
    assert catalogue.retired_name("bitmart") == "BitMart"


def test_it_may_bring_a_retired_exchange_back() -> None:
    catalogue = plugins.extended(Catalogue.load(), [named("bitmart")])

    assert catalogue.find("bitmart") is not None
    assert catalogue.retired_name("bitmart") is None


@pytest.mark.parametrize("taken", ["binance", "gateio", "paper"])
def test_it_cannot_take_the_name_of_an_exchange_that_is_served(taken: str) -> None:
    with pytest.raises(StartupError, match="a name that is taken"):
        plugins.extended(Catalogue.load(), [named(taken)])


def named(exchange_id: str) -> Plugin:
    shipped = PLUGIN.exchange
    entry = type(shipped)(exchange_id, shipped.name, (), (), has_sandbox=False)
    return Plugin(entry, PLUGIN.provider)
