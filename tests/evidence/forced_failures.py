"""Failures on demand, each while a secret is on its way into the database."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import grpc

from keyservice.v1 import key_service_pb2 as pb
from tests.evidence.logging_postgres import LoggingPostgres
from tests.evidence.secret_traffic import SecretTraffic

Code = grpc.StatusCode

BREAKAGES = {
    "an odd constraint": (
        "ALTER TABLE exchange_api_keys ADD CONSTRAINT odd CHECK (label = '') NOT VALID",
        "ALTER TABLE exchange_api_keys DROP CONSTRAINT odd",
    ),
    "a column that is not there": (
        "ALTER TABLE exchange_api_keys RENAME COLUMN passphrase TO passphrases",
        "ALTER TABLE exchange_api_keys RENAME COLUMN passphrases TO passphrase",
    ),
    "a trigger that tells all": (
        (
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'told %', NEW USING DETAIL = NEW::text; END $$;"
            " CREATE TRIGGER tell BEFORE INSERT OR UPDATE ON exchange_api_keys FOR EACH ROW EXECUTE FUNCTION tell()"
        ),
        "DROP FUNCTION tell CASCADE",
    ),
}
"""What is done to the table, and what takes it back."""


class ForcedFailures:
    """What can go wrong with the database, done to a service that runs."""

    def __init__(self, traffic: SecretTraffic, postgres: LoggingPostgres) -> None:
        self._traffic = traffic
        self._postgres = postgres

    async def constraints(self, client_id: str) -> None:
        """A label that is taken, a key that was added before, a request id of another request."""
        traffic = self._traffic
        first = traffic.addition(client_id, "the first of its kind")
        await traffic.call("AddApiKey", first)
        for changed in ({"label": first.label}, {"credentials": first.credentials}):
            again = traffic.addition(client_id, "a conflict", **changed)
            assert await traffic.call("AddApiKey", again) is Code.ALREADY_EXISTS
        reused = traffic.addition(client_id, "a request id used before", request_id=first.request_id)
        assert await traffic.call("AddApiKey", reused) is Code.ALREADY_EXISTS
        nobody = traffic.addition(str(uuid4()), "a client that does not exist")
        assert await traffic.call("AddApiKey", nobody) is Code.NOT_FOUND
        unknown = pb.RotateApiKeyRequest(
            api_key_id=str(uuid4()), credentials=traffic.credentials("no such key")
        )
        assert await traffic.call("RotateApiKey", unknown) is Code.NOT_FOUND

    async def unforeseen(self, client_id: str, key_id: str) -> None:
        """PostgreSQL refuses for reasons that nobody thought of, and prints the row while it does."""
        for what, (broken, mended) in BREAKAGES.items():
            await asyncio.to_thread(self._postgres.change, broken)
            codes = await asyncio.gather(*self._writes(client_id, key_id, what))
            assert codes == [Code.INTERNAL, Code.INTERNAL], (what, codes)
            await asyncio.to_thread(self._postgres.change, mended)

    async def deadlines(self, client_id: str, key_id: str) -> None:
        """The caller's, before and while the database works; and the service's own for a statement."""
        for call in self._writes(client_id, key_id, "no time at all", seconds=0.001):
            assert await call is Code.DEADLINE_EXCEEDED
        for what, seconds in (("the caller's deadline", 0.3), ("the statement's time limit", 10)):
            async with self._locked(client_id):
                codes = await asyncio.gather(*self._writes(client_id, key_id, what, seconds=seconds))
            assert codes == [Code.DEADLINE_EXCEEDED] * 2, (what, codes)

    async def killed(self, client_id: str, key_id: str) -> None:
        """The backend in the middle of a statement, and then PostgreSQL as a whole."""
        for what, kill in (("a killed backend", self._kill_backend), ("a killed postmaster", self._crash)):
            async with self._locked(client_id):
                writes = [asyncio.ensure_future(each) for each in self._writes(client_id, key_id, what)]
                await kill(await self._postgres.waiting_backend())
            codes = await asyncio.gather(*writes)
            assert codes == [Code.UNAVAILABLE] * 2, (what, codes)
            await self._back()

    def _writes(
        self, client_id: str, key_id: str, what: str, *, seconds: float = 10
    ) -> list[Coroutine[Any, Any, Any]]:
        """An AddApiKey and a RotateApiKey, with secrets of their own."""
        traffic = self._traffic
        addition = traffic.addition(client_id, f"an addition into {what}")
        rotation = pb.RotateApiKeyRequest(
            api_key_id=key_id,
            credentials=traffic.credentials(f"a rotation into {what}"),
            request_id=str(uuid4()),
        )
        return [
            traffic.call("AddApiKey", addition, seconds=seconds),
            traffic.call("RotateApiKey", rotation, seconds=seconds),
        ]

    async def _kill_backend(self, pid: int) -> None:
        await self._postgres.kill_backend(pid)

    async def _crash(self, _pid: int) -> None:
        await asyncio.to_thread(self._postgres.crash)

    async def _back(self) -> None:
        late = time.monotonic() + 20
        while await self._traffic.call("ListClients", pb.ListClientsRequest()) is Code.UNAVAILABLE:
            assert time.monotonic() < late
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _locked(self, client_id: str) -> AsyncIterator[None]:
        """The client's row and its keys' are locked, so that whoever writes there waits in the middle of it."""
        row = f"'{UUID(client_id)}'"
        session = await self._postgres.session()
        try:
            await session.execute("BEGIN")
            await session.execute(f"SELECT FROM clients WHERE id = {row} FOR UPDATE")
            await session.execute(f"SELECT FROM exchange_api_keys WHERE client_id = {row} FOR UPDATE")
            yield
        finally:
            session.terminate()
