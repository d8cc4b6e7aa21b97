"""KEYBRIDGE_HOME: where the all-in-one keeps what it has of its own. Here, a PostgreSQL and a master key."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bridgeservice.settings import BridgeServiceSettings
from keybridge import private_files
from keybridge.interruption import Undo
from keyservice.sealing import MasterKey
from keyservice.settings import KeyServiceSettings
from servicekit import config
from servicekit.database.named import names_database
from servicekit.embedded_postgres import EmbeddedPostgres

DATABASE = "keybridge"
KEYS_VARIABLE = "KEYSERVICE_ENCRYPTION_KEYS_FILE"


def home_directory(environ: Mapping[str, str]) -> Path:
    """KEYBRIDGE_HOME, or the platform's data folder."""
    if named := environ.get("KEYBRIDGE_HOME"):
        return Path(named)
    return default_home(environ, is_root=os.geteuid() == 0, platform=sys.platform)


def default_home(environ: Mapping[str, str], *, is_root: bool, platform: str) -> Path:
    """The platform's data folder. For root a public one: PostgreSQL's account can't enter root's own home."""
    if is_root:
        return Path("/var/lib/keybridge")
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "keybridge"
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "keybridge"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command works in."""

    environ: Mapping[str, str]
    """The variables, completed by what the all-in-one has of its own."""
    postgres: EmbeddedPostgres | None
    """The private PostgreSQL; None where the variables name a database."""


@asynccontextmanager
async def surroundings(environ: Mapping[str, str], undo: Undo) -> AsyncIterator[Surroundings]:
    """The variables. Where they name no database, completed by the all-in-one's own, running meanwhile, and by the
    master key that belongs to it. A database that was named is never sealed with a key that was made by the way.
    """
    settings = config.load(KeyServiceSettings, environ)
    # Here too, so that a wrong setting is told before anything is made or started.
    config.load(BridgeServiceSettings, environ)
    if names_database(settings):
        yield Surroundings(environ, None)
        return
    home = home_directory(environ)
    postgres = EmbeddedPostgres(home)
    undo.append(postgres.stop)
    # In a thread, so that signals are heard meanwhile; and waited for in any case, so that it can be stopped.
    starting = asyncio.ensure_future(asyncio.to_thread(_start, postgres))
    try:
        await asyncio.shield(starting)
        own = {"DATABASE_URL": postgres.url(DATABASE)}
        if not settings.master_keys and settings.environment != "production":
            own[KEYS_VARIABLE] = str(_own_key(home))
        yield Surroundings({**environ, **own}, postgres)
    finally:
        await asyncio.wait({starting})
        await asyncio.to_thread(postgres.stop)


def _start(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.ensure_database(DATABASE)


def _own_key(home: Path) -> Path:
    """The file with the master key, which is made when there is none: what a half-written one sealed could never be
    opened.
    """
    file = home / "encryption-keys"
    private_files.make(file, lambda: f"{MasterKey.generate()}\n")
    return file
