"""Exchanges that ccxt lacks: what a package has to offer, and how those that are installed are found.

docs/exchanges.md tells how to write one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from bridgeservice.exchanges.exchange import Environment, Exchange
from servicekit import catalogue
from servicekit.errors import StartupError

GROUP = "keybridge.exchanges"


@dataclass(frozen=True, slots=True)
class Provider:
    """Makes an exchange."""

    open: Callable[[Environment], Exchange]
    """Called once for each environment, in the event loop, when the exchange is first used. Sends nothing."""

    capabilities: Sequence[str] = ()
    """What it can do, as ccxt names it."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What an entry point of the group loads to."""

    exchange: catalogue.Exchange
    """Its entry in the catalogue. The id must be the entry point's name."""

    provider: Provider


def installed() -> Sequence[Plugin]:
    """The plug-ins of every installed package. One that cannot be used stops the start with a sentence."""
    return [_load(entry) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]


def _load(entry: EntryPoint) -> Plugin:
    try:
        plugin = entry.load()
    except Exception as error:  # the boundary to a package that is not ours: it may raise anything
        raise StartupError(
            f"The exchange {entry.name} ({GROUP}: {entry.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(plugin, Plugin):
        raise StartupError(f"The exchange {entry.name} ({GROUP}: {entry.value}) is not a Plugin.")
    if plugin.exchange.id != entry.name:
        raise StartupError(
            f"The exchange {entry.name} ({GROUP}: {entry.value}) calls itself {plugin.exchange.id}."
        )
    if entry.name != entry.name.lower():
        raise StartupError(
            f"The exchange {entry.name} ({GROUP}: {entry.value}) would never be found: "
            "an id is written in small letters."
        )
    return plugin


def extended(shipped: catalogue.Catalogue, plugins: Sequence[Plugin]) -> catalogue.Catalogue:
    """The shipped catalogue with the plug-ins in it. A plug-in may bring a retired exchange back, but not take
    the name of one that is served.
    """
    taken = {name for exchange in shipped.exchanges for name in (exchange.id, *exchange.aliases)}
    for plugin in plugins:
        names = {plugin.exchange.id, *plugin.exchange.aliases}
        if clash := sorted(names & taken):
            raise StartupError(f"The plug-in {plugin.exchange.id} takes a name that is taken: {clash[0]}.")
        taken |= names
    exchanges = sorted(
        [*shipped.exchanges, *(plugin.exchange for plugin in plugins)], key=lambda each: each.id
    )
    back = {plugin.exchange.id for plugin in plugins}
    retired = {name: title for name, title in shipped.retired.items() if name not in back}
    return catalogue.Catalogue(exchanges, retired=retired, ccxt_version=shipped.ccxt_version)
