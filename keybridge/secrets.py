"""``keybridge secrets``: moving everything that is sealed under another master key."""

from collections.abc import Callable, Mapping

from keybridge.home import surroundings
from keybridge.interruption import Undo
from keyservice.keyring import open_keyring
from keyservice.models import METADATA
from keyservice.resealing import Progress
from keyservice.resealing import rotate as rotate_everything
from keyservice.settings import KeyServiceSettings
from servicekit import config, startup

Say = Callable[[str], None]


async def rotate(environ: Mapping[str, str], say: Say, undo: Undo, *, promote: bool) -> int:
    """Seal everything anew under the first master key; the exit status is 1 when anything is left."""
    async with surroundings(environ, undo) as home:
        settings = config.load(KeyServiceSettings, home.environ)
        async with startup.open_database(settings, METADATA, name="keybridge-secrets") as database:
            keyring = await open_keyring(database, settings.master_keys, promote=promote)
            rotation = await rotate_everything(
                database, keyring, progress=lambda reached: say(_line(reached))
            )
    for key_id in rotation.retired:
        say(f"The master key {key_id} is not needed by any row any more, and was forgotten.")
    if rotation.left:
        say(
            f"{rotation.left} rows are not under the master key {keyring.current.key_id} yet; run this again."
        )
    if rotation.waiting:
        say(
            f"{rotation.waiting} rows still wait with the secrets of an older system, under its key;"
            " keybridge db adopt seals them."
        )
    if rotation.left or rotation.waiting:
        return 1
    say(f"Every row is sealed under the master key {keyring.current.key_id}.")
    return 0


def _line(reached: Progress) -> str:
    unreadable = f", {reached.unreadable} unreadable" if reached.unreadable else ""
    return f"{reached.done} of {reached.total} rows sealed anew{unreadable}"
