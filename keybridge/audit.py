"""``keybridge audit``: proving that the record of who did what is what it was."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from keybridge.home import surroundings
from keybridge.interruption import Undo
from keybridge.options import duration
from keyservice.audit_verification import Checkpoint, Proof
from keyservice.audit_verification import verify as prove
from keyservice.keyring import read_keyring
from keyservice.models import METADATA
from keyservice.settings import KeyServiceSettings
from servicekit import config, startup
from servicekit.errors import KeybridgeError, SettingsError, StartupError
from servicekit.wording import counted

Say = Callable[[str], None]

_TAMPERED: Final = 1
_HELD_UP: Final = 3
_TELL_EVERY: Final = 50_000


class Unverifiable(StartupError):
    """Whether the record is what it was can't be said; told apart from a record that is not."""

    exit_status = 2


async def verify(
    environ: Mapping[str, str],
    say: Say,
    undo: Undo,
    *,
    checkpoint: Path | None,
    since_checkpoint: bool,
    seal_within: str,
) -> int:
    """Prove the audit record; the exit status is 0 when it is intact, 1 when not, 2 when that can't be said, and 3 when
    what is sealed is intact, but something else should have been sealed long ago.
    """
    try:
        patience = duration("--seal-within", seal_within)
        known = _read(checkpoint) if checkpoint else None
        if since_checkpoint and known is None:
            raise SettingsError("--since-checkpoint needs a --checkpoint file that is there already.")
        async with surroundings(environ, undo) as home:
            proof = await _prove(home.environ, say, known, patience, only_since=since_checkpoint)
        if checkpoint and not proof.findings:
            _keep(checkpoint, proof.head, known, say)
    except (StartupError, KeybridgeError) as error:
        raise Unverifiable(str(error)) from error
    return _report(proof, say)


async def _prove(
    environ: Mapping[str, str], say: Say, known: Checkpoint | None, patience: timedelta, *, only_since: bool
) -> Proof:
    settings = config.load(KeyServiceSettings, environ)
    told = 0

    def progress(proof: Proof) -> None:
        nonlocal told
        if proof.events >= told + _TELL_EVERY:
            told = proof.events
            say(f"{_extent(proof)} verified")

    async with startup.open_database(settings, METADATA, name="keybridge-audit") as database:
        keyring = await read_keyring(database, settings.master_keys)
        return await prove(
            database.reads, keyring, known, only_since=only_since, seal_within=patience, progress=progress
        )


def _report(proof: Proof, say: Say) -> int:
    for sentence in proof.told:
        say(sentence)
    if more := proof.findings - len(proof.told):
        say(f"And {more} more.")
    if proof.unsealed:
        waiting = counted(proof.unsealed, "event")
        say(f"Not sealed yet: {waiting}, the oldest of {proof.unsealed_since}.")
    if proof.findings:
        say(
            f"The audit record is NOT what it was: {counted(proof.findings, 'finding')}; looked at {_extent(proof)}."
        )
        return _TAMPERED
    if proof.unsealed_too_long:
        say(
            f"The audit record is intact as far as it is sealed: {_extent(proof)}. But sealing is HELD UP, and what is"
            " not sealed can be changed unseen: the log of KeyService says by what."
        )
        return _HELD_UP
    say(f"The audit record is intact: {_extent(proof)}.")
    return 0


def _extent(proof: Proof) -> str:
    return f"{counted(proof.events, 'event')} under {counted(proof.seals, 'seal')}"


def _read(file: Path) -> Checkpoint | None:
    """What was kept by the last proof; None when there is no such file yet."""
    try:
        kept = json.loads(file.read_text())
        return Checkpoint(int(kept["seal"]), bytes.fromhex(kept["mac"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"The file {file} of --checkpoint is not one that this command wrote.") from error


def _keep(file: Path, head: Checkpoint | None, known: Checkpoint | None, say: Say) -> None:
    """Put the end of the chain in the place of what was kept before, in one step."""
    if head is None:
        say(f"There is no seal yet, so {file} was not written.")
        return
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps({"seal": head.number, "mac": head.mac.hex()}) + "\n")
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise SettingsError(f"The file {file} of --checkpoint can't be written: {error.strerror}.") from error
    if known is None:
        say(f"{file} was not there: it is from now on that a record that was cut off is found.")
