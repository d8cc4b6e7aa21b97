"""The keyring: the master keys that this process was given, and the index key that lies sealed under each.

``open_keyring`` is the step of the start that holds them against what the database was sealed with. The first
key of the list seals, the others only open. A new key is named behind the current one first, which registers
it: it stands by. Once every replica has it, it is put in front, which promotes it; ``keyservice.resealing``
makes the old one dispensable. What could part replicas, or goes back to an older key, has to be asked for.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC
from itertools import combinations
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from keyservice.sealing import KEY_BYTES, Context, MalformedKey, MasterKey, NotOpened, fingerprint
from keyservice.store import encryption_keys
from keyservice.store.encryption_keys import Registered
from servicekit.database.engine import Connection, Database
from servicekit.errors import SettingsError, StartupError

SETTING: Final = "KEYSERVICE_ENCRYPTION_KEYS"

_PROMOTE: Final = "keybridge secrets rotate --promote"

_NOBODY = UUID(int=0)
# No row has this id or this field.
_INDEX_KEY_PLACE = Context(client_id=_NOBODY, row_id=_NOBODY, field="index_key", secret_version=1)


class KeyUnreadable(Exception):
    """Something sealed can't be opened; the text says why, with key ids and no content."""


class Keyring:
    """Seals under the current key, opens under any that it has, knows the index key. Prints as ids only."""

    __slots__ = ("_index_key", "_keys", "current")

    def __init__(self, keys: Sequence[MasterKey], index_key: bytes) -> None:
        self.current: Final = keys[0]
        self._keys: Final = {key.key_id: key for key in keys}
        self._index_key: Final = index_key

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self._keys)}>"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the current one first."""
        return tuple(self._keys)

    def seal(
        self, values: Mapping[str, bytes], *, client_id: UUID, row_id: UUID, secret_version: int
    ) -> tuple[str, dict[str, str]]:
        """The id of the current key, and each value sealed under it for its very column of that row."""
        sealed = {
            field: self.current.seal(value, Context(client_id, row_id, field, secret_version))
            for field, value in values.items()
        }
        return self.current.key_id, sealed

    def open(
        self,
        sealed: Mapping[str, str | None],
        *,
        key_id: str | None,
        client_id: UUID,
        row_id: UUID,
        secret_version: int,
    ) -> dict[str, bytes]:
        """The values of the columns that hold one; ``KeyUnreadable`` unless every one of them opens."""
        tokens = {field: token for field, token in sealed.items() if token is not None}
        if not tokens:
            return {}
        if key_id is None:
            raise KeyUnreadable("It was sealed before its database was adopted, and waits for that.")
        key = self._keys.get(key_id)
        if key is None:
            raise KeyUnreadable(
                f"It is sealed under the master key {key_id}, which this process does not have."
            )
        try:
            return {
                field: key.open(token, Context(client_id, row_id, field, secret_version))
                for field, token in tokens.items()
            }
        except NotOpened:
            raise KeyUnreadable(
                f"It was not sealed for this place under the master key {key_id}, or is damaged."
            ) from None

    def fingerprint(self, exchange: str, identity: bytes) -> bytes:
        """By which the same key of an exchange is recognised; the same under every master key, for good."""
        return fingerprint(self._index_key, exchange.encode(), identity)

    def mac(self, purpose: str, *parts: bytes) -> bytes:
        """An authenticator that only holders of the index key can make; another purpose gives another one."""
        info = b"keybridge mac" + purpose.encode()
        key = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._index_key)
        return fingerprint(key, *parts)


async def open_keyring(database: Database, keys: Sequence[SecretStr], *, promote: bool = False) -> Keyring:
    """The keyring of the configured keys, if they fit the database; StartupError if they don't.

    Keys that the database has not met are registered, and the first one is promoted where that is safe. With
    ``promote`` it is promoted in any case: back to an older key, or at once to one that no other replica has.
    Nothing is written unless all is well.
    """
    masters = _read(keys)

    async def step(connection: Connection) -> Keyring:
        await encryption_keys.lock(connection)
        registered = await encryption_keys.registered(connection)
        if registered:
            await _require_all_needed(connection, masters, registered)
            index_key = _index_key(masters, registered)
            if not promote:
                _require_order(masters[0], registered)
        else:
            index_key = secrets.token_bytes(KEY_BYTES)
        met = {key.key_id for key in registered}
        if new := [_registration(key, index_key) for key in masters if key.key_id not in met]:
            await encryption_keys.register(connection, new)
        if not registered or registered[0].key_id != masters[0].key_id:
            await encryption_keys.promote(connection, masters[0].key_id)
        return Keyring(masters, index_key)

    return await database.run(step)


async def read_keyring(database: Database, keys: Sequence[SecretStr]) -> Keyring:
    """The keyring, for whoever only looks: nothing is written or locked, whatever the order of the keys."""
    masters = _read(keys)
    async with database.transaction() as connection:
        registered = await encryption_keys.registered(connection)
        if not registered:
            raise StartupError("This database has never met a master key: KeyService has not run on it yet.")
        await _require_all_needed(connection, masters, registered)
        return Keyring(masters, _index_key(masters, registered))


def _read(keys: Sequence[SecretStr]) -> tuple[MasterKey, ...]:
    """The keys as such; a sentence names a key by its place in the list, never by anything of it."""
    if not keys:
        raise SettingsError(
            f"{SETTING} is empty: it needs at least one key, which is 32 random bytes in URL-safe base64."
        )
    masters = []
    for position, key in enumerate(keys, start=1):
        try:
            masters.append(MasterKey(key.get_secret_value()))
        except MalformedKey as error:
            raise SettingsError(
                f"Key {position} of the {len(keys)} in {SETTING} is malformed: {error}."
            ) from None
    for (first, one), (second, other) in combinations(enumerate(masters, start=1), 2):
        if one.key_id == other.key_id:
            raise SettingsError(
                f"Keys {first} and {second} in {SETTING} are the same; each may be named once."
            )
    return tuple(masters)


async def _require_all_needed(
    connection: Connection, masters: Sequence[MasterKey], registered: Sequence[Registered]
) -> None:
    """Needed are the current key, and each that a row names. The index key needs one that was met before."""
    given = [key.key_id for key in masters]
    current = registered[0].key_id
    absent = [key.key_id for key in registered if key.key_id not in given]
    rows = await encryption_keys.count_rows(connection, absent) if absent else {}
    needed = [_need(each, rows.get(each, 0), current) for each in absent if each in rows or each == current]
    if len(absent) == len(registered):
        raise StartupError(
            f"None of the keys in {SETTING} ({', '.join(given)}) is one that this database was sealed with;"
            f" it needs {', '.join(needed)}."
        )
    if needed:
        raise StartupError(f"{SETTING} lacks a key that this database needs: {', '.join(needed)}.")


def _need(key_id: str, rows: int, current: str) -> str:
    facts = ["its current key"] if key_id == current else []
    return f"{key_id} ({' and '.join([*facts, f'the key of {rows} rows'])})"


def _index_key(masters: Sequence[MasterKey], registered: Sequence[Registered]) -> bytes:
    """What every registered key that we have must give, and give alike."""
    by_id = {key.key_id: key for key in masters}
    found = set()
    for remembered in registered:
        key = by_id.get(remembered.key_id)
        if key is None:
            continue
        if key.check_value() != remembered.check_value:
            raise StartupError(
                f"The key {key.key_id} in {SETTING} is not the one that this database knows by that id;"
                " one of the two was tampered with."
            )
        try:
            found.add(key.open(remembered.index_key, _INDEX_KEY_PLACE))
        except NotOpened:
            raise StartupError(
                f"The index key that this database keeps under the key {key.key_id} does not open;"
                " the table encryption_keys was changed by hand or is damaged."
            ) from None
    if len(found) > 1:
        raise StartupError(
            "This database keeps different index keys under the keys that are configured;"
            " the table encryption_keys was changed by hand or mixed from two databases."
        )
    return found.pop()


def _require_order(first: MasterKey, registered: Sequence[Registered]) -> None:
    """The first key has to be the current one, or one that stands by and thereby is promoted now."""
    current = registered[0]
    mine = next((key for key in registered if key.key_id == first.key_id), None)
    if mine is None:
        raise StartupError(
            f"The first key in {SETTING}, {first.key_id}, is new to this database, and replicas without it"
            f" could not read what it seals: start all of them with it behind {current.key_id}, then put it"
            f" in front; if there are no others, promote it with: {_PROMOTE}."
        )
    if mine.key_id != current.key_id and mine.promoted_at and current.promoted_at:
        since = f"{current.promoted_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        raise StartupError(
            f"The first key in {SETTING}, {first.key_id}, was superseded: {current.key_id} is current since"
            f" {since} and belongs in front; to go back to the older one deliberately, promote it with:"
            f" {_PROMOTE}."
        )


def _registration(key: MasterKey, index_key: bytes) -> Registered:
    return Registered(key.key_id, key.check_value(), key.seal(index_key, _INDEX_KEY_PLACE))
