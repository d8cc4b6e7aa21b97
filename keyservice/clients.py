"""Use cases of clients: each is one transaction, with its audit event inside."""

from collections.abc import Mapping
from uuid import UUID, uuid4

from keyservice.convergence import Convergence
from keyservice.keyring import Keyring
from keyservice.records import Caller, Client
from keyservice.repetition import Repetition, claim
from keyservice.store import api_keys, audit, clients, requests
from servicekit.database.engine import Connection, Database
from servicekit.errors import NotFound, PermissionDenied
from servicekit.paging import Page, Position


class Clients:
    """The owners of keys."""

    def __init__(
        self, database: Database, keyring: Keyring, convergence: Convergence, *, erase_at_once: bool
    ) -> None:
        self._database = database
        self._convergence = convergence
        self._keyring = keyring
        self._erase_at_once = erase_at_once

    async def create(
        self, caller: Caller, name: str, external_id: str, repetition: Repetition | None
    ) -> Client:
        _refuse_limited(caller, "makes clients")
        client_id = uuid4()
        wanted = claim(self._keyring, caller, repetition)
        async with self._database.transaction(whose=caller.share) as connection:
            if wanted and (first := await requests.take(connection, wanted, client_id)):
                return _found(await clients.get(connection, first, caller))
            client = await clients.add(connection, client_id, name, external_id or None)
            await audit.record(connection, caller, "CreateClient", client_id=client_id)
            return client

    async def get(self, caller: Caller, client_id: UUID) -> Client:
        return _found(await clients.get(self._database.reads, client_id, caller))

    async def list(
        self, caller: Caller, *, show_deleted: bool, after: Position | None, size: int
    ) -> Page[Client]:
        return await clients.page(
            self._database.reads, caller, show_deleted=show_deleted, after=after, size=size
        )

    async def update(self, caller: Caller, client_id: UUID, changes: Mapping[str, str]) -> Client:
        """Change ``name`` or ``external_id``; a deleted client can be renamed too. What is so already is left alone."""
        if "external_id" in changes:
            _refuse_limited(caller, "changes an external_id")
        values = {field: value or None for field, value in changes.items()}

        async def work(connection: Connection) -> Client:
            client = _found(await clients.lock(connection, client_id, caller))
            if all(getattr(client, field) == value for field, value in values.items()):
                return client
            client = await clients.change(connection, client_id, values)
            await audit.record(connection, caller, "UpdateClient", client_id=client_id)
            return client

        # Two clients that want each other's external_id wait for each other, until PostgreSQL sends one away.
        return await self._database.run(work, whose=caller.share)

    async def delete(self, caller: Caller, client_id: UUID) -> Client:
        """Delete softly, and with the client its live keys. Deleting a deleted client changes nothing."""
        async with self._database.transaction(whose=caller.share) as connection:
            client = _found(await clients.lock(connection, client_id, caller))
            if client.deleted_at is not None:
                return client
            client = await clients.delete(connection, client_id)
            gone = await api_keys.delete_of_client(connection, client_id, erase=self._erase_at_once)
            await audit.record(connection, caller, "DeleteClient", client_id=client_id)
            await audit.record_each(connection, caller, "DeleteClient", client_id, gone)
        self._convergence.leave_to_the_loop(gone)
        return client

    async def undelete(self, caller: Caller, client_id: UUID) -> Client:
        """Bring back the client and the keys that were deleted with it, as far as they were not erased since."""
        async with self._database.transaction(whose=caller.share) as connection:
            client = _found(await clients.lock(connection, client_id, caller))
            if client.deleted_at is None:
                return client
            back = await api_keys.undelete_of_client(connection, client_id)
            client = await clients.undelete(connection, client_id)
            await audit.record(connection, caller, "UndeleteClient", client_id=client_id)
            await audit.record_each(connection, caller, "UndeleteClient", client_id, back)
        self._convergence.leave_to_the_loop(back)
        return client


def _refuse_limited(caller: Caller, what: str) -> None:
    """No two clients have the same external_id, so that who sets one learns of those of all tenants.

    And a client that somebody limited made would not be one of his.
    """
    if caller.limited:
        raise PermissionDenied(f"Only a caller who may see all clients {what}.", reason="LIMITED_TO_CLIENTS")


def _found(client: Client | None) -> Client:
    if client is None:
        raise NotFound("There is no such client.", reason="CLIENT_NOT_FOUND")
    return client
