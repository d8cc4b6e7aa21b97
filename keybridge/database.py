"""``keybridge db``: the schema of the database that the services use, and taking over an old one."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import MetaData

from bridgeservice.models import METADATA as BRIDGE_METADATA
from bridgeservice.settings import BridgeServiceSettings
from keybridge.home import surroundings
from keybridge.interruption import Undo
from keyservice.adoption import Progress
from keyservice.adoption import adopt as adopt_everything
from keyservice.keyring import open_keyring
from keyservice.models import METADATA as KEY_METADATA
from keyservice.settings import KeyServiceSettings
from servicekit import config, startup
from servicekit.database import migrate
from servicekit.database.engine import Database
from servicekit.database.named import database_url, names_database
from servicekit.database.options import DatabaseOptions
from servicekit.database.schema import check_head, check_schema
from servicekit.database.url import DatabaseUrl
from servicekit.errors import SettingsError

Say = Callable[[str], None]

# Someone is waiting at the terminal.
_PATIENCE = timedelta(seconds=2)


async def upgrade(environ: Mapping[str, str], say: Say, undo: Undo, revision: str) -> None:
    """Migrate the database of each service, one for both in most cases, and say from where to where."""
    async with surroundings(environ, undo) as home:
        for url in _databases(home.environ):
            before = await migrate.current(url)
            await migrate.upgrade(url, revision)
            after = await migrate.current(url)
            if before == after:
                say(f"The database at {url.where} is at revision {after} already.")
            else:
                say(f"The database at {url.where} went from {before or 'nothing'} to revision {after}.")


async def check(environ: Mapping[str, str], say: Say, undo: Undo) -> int:
    """Say what differs from this release; the exit status is 1 when anything does."""
    differs = False
    async with surroundings(environ, undo) as home:
        for url, metadata in _databases(home.environ).items():
            differences = await _differences(url, metadata)
            for difference in differences:
                say(difference)
            if not differences:
                say(f"The database at {url.where} is as this release expects.")
            differs = differs or bool(differences)
    return int(differs)


async def adopt(environ: Mapping[str, str], say: Say, undo: Undo, old_key_file: Path | None) -> None:
    """Seal an old database's secrets anew, and print the report, which the database keeps."""
    async with surroundings(environ, undo) as home:
        settings = config.load(KeyServiceSettings, home.environ)
        old_key = _read(old_key_file) if old_key_file else settings.encryption_key
        if old_key is None:
            raise SettingsError(
                "The old key is missing: name its file with --old-key-file, or set ENCRYPTION_KEY."
            )
        async with startup.open_database(settings, KEY_METADATA, name="keybridge-adopt") as database:
            keyring = await open_keyring(database, settings.master_keys)
            report = await adopt_everything(
                database, keyring, old_key, progress=lambda reached: say(_line(reached))
            )
    for line in report.lines():
        say(line)


def _read(file: Path) -> SecretStr:
    try:
        return SecretStr(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {file} of --old-key-file can't be read.") from error


def _line(reached: Progress) -> str:
    unreadable = f", {reached.unreadable} unreadable" if reached.unreadable else ""
    return f"{reached.adopted + reached.superseded} of {reached.total} API keys adopted{unreadable}"


def _databases(environ: Mapping[str, str]) -> dict[DatabaseUrl, list[MetaData]]:
    """Each database that a service uses, and whose tables it is to have: one, unless they were told otherwise."""
    found: dict[DatabaseUrl, list[MetaData]] = {}
    key_settings = config.load(KeyServiceSettings, environ)
    bridge_settings = config.load(BridgeServiceSettings, environ)
    found.setdefault(database_url(key_settings), []).append(KEY_METADATA)
    # The bridge can do without a database.
    if names_database(bridge_settings):
        found.setdefault(database_url(bridge_settings), []).append(BRIDGE_METADATA)
    return found


async def _differences(url: DatabaseUrl, metadatas: Sequence[MetaData]) -> list[str]:
    database = Database(DatabaseOptions(url=url, application_name="keybridge-db-check"))
    try:
        await database.wait_until_reachable(_PATIENCE)
        async with database.transaction() as connection:
            if wrong_revision := await check_head(connection):
                return [wrong_revision]
            # This process has imported both services' models, so that the two may be one and the same metadata.
            different = {id(each): each for each in metadatas}.values()
            return [sentence for each in different for sentence in await check_schema(connection, each)]
    finally:
        await database.close()
