"""Use cases of API keys: each is one transaction, with its audit event inside, and then an attempt at the bridge.

An answer means that the key is durable. Which of two concurrent requests comes first, whether a label is free and
whether a request is a repetition are decided by the database's constraints, never by a look before the write.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from keyservice.bridge_records import Outcome
from keyservice.claims import LEASE
from keyservice.convergence import Convergence
from keyservice.credentials import columns, hint
from keyservice.enums import Environment
from keyservice.errands import Tried, Within
from keyservice.fingerprints import fingerprint_of
from keyservice.keyring import Keyring
from keyservice.records import ApiKey, AuditEvent, Caller, Client
from keyservice.repetition import Repetition, claim
from keyservice.store import additions, api_key_lists, api_keys, audit, clients, requests
from keyservice.store.additions import NewKey
from keyservice.store.api_key_lists import Filter
from keyservice.store.api_keys import Secrets
from servicekit.catalogue import Catalogue
from servicekit.credentials import Credentials
from servicekit.database.engine import Connection, Database
from servicekit.errors import Aborted, FailedPrecondition, NotFound
from servicekit.paging import Page, Position
from servicekit.validation import Violations


@dataclass(frozen=True, slots=True)
class ApiKeyOrder:
    """What AddApiKey asks for, checked."""

    client_id: UUID
    exchange: str
    label: str
    environment: Environment
    credentials: Credentials
    verify: bool = False


@dataclass(frozen=True, slots=True)
class Rotation:
    """What RotateApiKey asks for."""

    api_key_id: UUID
    credentials: Credentials
    verify: bool = False


@dataclass(frozen=True, slots=True)
class ApiKeyChanges:
    """What UpdateApiKey asks for; None leaves a field as it is."""

    label: str | None = None
    disabled: bool | None = None


class Custody:
    """Keeps clients' keys: sealed before they are stored, and never given out."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        catalogue: Catalogue,
        convergence: Convergence,
        *,
        erase_at_once: bool,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._convergence = convergence
        self._catalogue = catalogue
        self._erase_at_once = erase_at_once

    async def add(
        self, caller: Caller, order: ApiKeyOrder, repetition: Repetition | None, within: Within = None
    ) -> Tried:
        """Seal and store a key. The same request again finds the first one's key, whatever became of it since."""
        key_id = uuid4()
        secrets = self._sealed(order.exchange, order.credentials, order.client_id, key_id, version=1)
        new = NewKey(key_id, order.client_id, order.exchange, order.label, order.environment, secrets)
        wanted = claim(self._keyring, caller, repetition)
        # Where the bridge is away, one call has the turn to find out whether somebody is back. The statement decides
        # whether there is anything to send, and only what is sent takes that turn.
        away = self._convergence.is_away_for(order.client_id)
        unit = self._database.transaction if away else self._database.autocommit
        async with unit(whose=caller.share) as connection:
            added = await additions.add(connection, new, caller, wanted, LEASE, releases=not away)
            absence = await self._release(connection, caller, added) if added and away else None
            first = await requests.first_result(connection, wanted) if wanted and not added else None
        if added:
            return await self._convergence.at_once(
                caller,
                added,
                within,
                credentials=order.credentials,
                verify=order.verify,
                absence=absence,
            )
        if first:
            return Tried(await self.get(caller, first))
        raise NotFound("There is no such client.", reason="CLIENT_NOT_FOUND")

    async def rotate(
        self, caller: Caller, order: Rotation, repetition: Repetition | None, within: Within = None
    ) -> Tried:
        """Put new credentials in the place of the old ones, which are gone."""
        key_id, credentials = order.api_key_id, order.credentials
        wanted = claim(self._keyring, caller, repetition)
        async with self._database.transaction(whose=caller.share) as connection:
            _, key = await _lock(connection, key_id, caller)
            if wanted and await requests.take(connection, wanted, key_id):
                return Tried(key)
            _refuse_deleted(key)
            self._require_complete(key.exchange, credentials)
            secrets = self._sealed(
                key.exchange, credentials, key.client_id, key_id, version=key.secret_version + 1
            )
            rotated = await api_keys.replace_secrets(
                connection, key_id, secrets, expected_version=key.secret_version, lease=LEASE
            )
            if rotated is None:
                raise Aborted("The key was changed by someone else at the same time; try again.")
            await audit.record(connection, caller, "RotateApiKey", client_id=key.client_id, api_key_id=key_id)
            absence = await self._release(connection, caller, rotated)
        return await self._convergence.at_once(
            caller, rotated, within, credentials=credentials, verify=order.verify, absence=absence
        )

    async def get(self, caller: Caller, key_id: UUID) -> ApiKey:
        return _found(await api_keys.get(self._database.reads, key_id, caller))

    async def list(
        self, caller: Caller, wanted: Filter, *, after: Position | None, size: int
    ) -> Page[ApiKey]:
        return await api_key_lists.page(self._database.reads, caller, wanted, after=after, size=size)

    async def update(
        self, caller: Caller, key_id: UUID, changes: ApiKeyChanges, within: Within = None
    ) -> ApiKey:
        """Rename, disable or enable. What is so already is left alone, and draws no new revision."""
        async with self._database.transaction(whose=caller.share) as connection:
            _, key = await _lock(connection, key_id, caller)
            _refuse_deleted(key)
            before, seals, absence = key, None, None
            if changes.label is not None and changes.label != key.label:
                key = await api_keys.rename(connection, key_id, changes.label)
            if changes.disabled is not None and changes.disabled != key.disabled:
                changed = await api_keys.set_disabled(
                    connection, key_id, disabled=changes.disabled, lease=LEASE
                )
                key, seals = changed.key, changed.seals
            if key is not before:
                await audit.record(
                    connection, caller, "UpdateApiKey", client_id=key.client_id, api_key_id=key_id
                )
            if key.revision != before.revision:
                absence = await self._release(connection, caller, key)
        if key.revision == before.revision:
            self._convergence.tell(key_id)
            return key
        return (await self._convergence.at_once(caller, key, within, seals=seals, absence=absence)).key

    async def delete(self, caller: Caller, key_id: UUID, within: Within = None) -> ApiKey:
        """Delete softly: the label and the api key are free again. Deleting a deleted key changes nothing."""
        async with self._database.transaction(whose=caller.share) as connection:
            _, key = await _lock(connection, key_id, caller)
            if key.deleted_at is not None:
                return key
            key = await api_keys.delete(connection, key_id, erase=self._erase_at_once, lease=LEASE)
            await audit.record(connection, caller, "DeleteApiKey", client_id=key.client_id, api_key_id=key_id)
        return (await self._convergence.at_once(caller, key, within)).key

    async def undelete(self, caller: Caller, key_id: UUID, within: Within = None) -> ApiKey:
        """Bring a deleted key back, as long as its credentials have not been erased."""
        async with self._database.transaction(whose=caller.share) as connection:
            client, key = await _lock(connection, key_id, caller)
            if key.deleted_at is None:
                return key
            if key.erased_at is not None:
                raise FailedPrecondition(
                    "The credentials of this key were erased some time after it was deleted; add it anew.",
                    reason="CREDENTIALS_ERASED",
                )
            if client.deleted_at is not None:
                raise FailedPrecondition(
                    "The client of this key is deleted; bring the client back first.", reason="CLIENT_DELETED"
                )
            back = await api_keys.undelete(connection, key_id, lease=LEASE)
            await audit.record(
                connection, caller, "UndeleteApiKey", client_id=key.client_id, api_key_id=key_id
            )
            absence = await self._release(connection, caller, back.key)
        tried = await self._convergence.at_once(caller, back.key, within, seals=back.seals, absence=absence)
        return tried.key

    async def audit_events(
        self, caller: Caller, *, client_id: UUID | None, after: Position | None, size: int
    ) -> Page[AuditEvent]:
        return await audit.page(self._database.reads, caller, client_id=client_id, after=after, size=size)

    async def _release(self, connection: Connection, caller: Caller, key: ApiKey) -> Outcome | None:
        """Put on record that a changed key's credentials go to the bridge; or say why they do not, where it is known
        to be away for this key.
        """
        absence = self._convergence.absence_for(key.client_id) if key.wanted else None
        if absence is None:
            await audit.record_releases(connection, caller, [key])
        return absence

    def _require_complete(self, exchange: str, credentials: Credentials) -> None:
        """Only the row of a key says which exchange it is for."""
        violations = Violations()
        violations.complete("credentials", credentials, self._catalogue.find(exchange))
        violations.refuse()

    def _sealed(
        self, exchange: str, credentials: Credentials, client_id: UUID, key_id: UUID, *, version: int
    ) -> Secrets:
        master_key_id, sealed = self._keyring.seal(
            columns(credentials), client_id=client_id, row_id=key_id, secret_version=version
        )
        return Secrets(
            sealed=sealed,
            key_id=master_key_id,
            secret_version=version,
            key_hint=hint(credentials),
            fingerprint=fingerprint_of(self._keyring, exchange, credentials),
        )


async def _lock(connection: Connection, key_id: UUID, caller: Caller) -> tuple[Client, ApiKey]:
    """A key to be changed, and before it its client: so the changes of one client's keys come one after the other.

    That is also the order in which they draw revisions, AddApiKey included, which locks the client too. And none
    of them can wait for another one that waits for it.
    """
    client = await clients.lock_owner(connection, key_id, caller)
    if client is None:
        raise _no_such_key()
    return client, _found(await api_keys.lock(connection, key_id, caller))


def _found(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise _no_such_key()
    return key


def require_in_use(key: ApiKey | None) -> ApiKey:
    """A key that is there, and that the bridge should hold."""
    found = _found(key)
    _refuse_deleted(found)
    if found.disabled:
        raise FailedPrecondition(
            "This API key is disabled; UpdateApiKey enables it.", reason="API_KEY_DISABLED"
        )
    return found


def _no_such_key() -> NotFound:
    return NotFound("There is no such API key.", reason="API_KEY_NOT_FOUND")


def _refuse_deleted(key: ApiKey) -> None:
    if key.deleted_at is not None:
        raise FailedPrecondition(
            "This API key is deleted; UndeleteApiKey brings it back.", reason="API_KEY_DELETED"
        )
