"""The clients of a crash run: each adds keys and rotates them without a pause, and repeats what got no answer."""

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

import grpc

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.key_service_pb2_grpc import KeyServiceStub
from tests.evidence.crash_journal import Journal, Key

CALL_SECONDS = 5.0

Response = TypeVar("Response", pb.AddApiKeyResponse, pb.RotateApiKeyResponse)


class Line:
    """Where the service is at the moment; whoever calls while it is nowhere waits."""

    def __init__(self, make_stub: Callable[[grpc.aio.Channel], Any] = KeyServiceStub) -> None:
        self._make_stub = make_stub
        self._stub: Any = None
        self._channel: grpc.aio.Channel | None = None
        self._up = asyncio.Event()

    async def connect(self, address: str) -> None:
        await self.close()
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = self._make_stub(self._channel)
        self._up.set()

    def cut(self) -> None:
        self._up.clear()

    async def stub(self) -> Any:
        """The stub; gRPC's generated one, whose types differ between its synchronous and its aio form."""
        await self._up.wait()
        return self._stub

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()


class CrashClient:
    """One client's program. It is the only one to touch its keys, so it knows what they must be."""

    def __init__(self, line: Line, journal: Journal, client_id: str, seed: int) -> None:
        self._line = line
        self._journal = journal
        self._client_id = client_id
        self._chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, and guards nothing
        self._held: list[Key] = []

    async def work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            what = self._chance.random()
            if not self._held or what < 0.4:
                await self._add(at_once=2 if what < 0.1 else 1, stopping=stopping)
            elif what < 0.85:
                await self._rotate(self._chance.choice(self._held), stopping)
            else:
                await self._repeat(self._chance.choice(self._held))

    async def _add(self, *, at_once: int, stopping: asyncio.Event) -> None:
        """A new key; ``at_once`` is how many times the very same request is sent side by side."""
        request_id = str(uuid4())
        request = pb.AddApiKeyRequest(
            client_id=self._client_id,
            exchange="kraken",
            label=request_id,
            credentials=_credentials(),
            request_id=request_id,
        )
        key = Key(request, contents=[request.credentials])
        self._journal.keys[key.label] = key
        await asyncio.gather(*(self._until_answered(key, stopping) for _ in range(at_once)))
        if key.id:
            self._held.append(key)

    async def _until_answered(self, key: Key, stopping: asyncio.Event) -> None:
        while not await self._send_addition(key) and self._goes_on(stopping):
            self._journal.calls["repeated"] += 1

    async def _send_addition(self, key: Key) -> bool:
        answer = await self._send("AddApiKey", key.request)
        if answer is not None:
            self._journal.calls["added"] += not key.answers
            key.answers.add(answer.api_key.id)
        return answer is not None

    async def _rotate(self, key: Key, stopping: asyncio.Event) -> None:
        request = pb.RotateApiKeyRequest(
            api_key_id=key.id, credentials=_credentials(), request_id=str(uuid4())
        )
        key.contents.append(request.credentials)
        while not (answered := await self._send("RotateApiKey", request)) and self._goes_on(stopping):
            self._journal.calls["repeated"] += 1
        if answered:
            self._journal.calls["rotated"] += 1
            key.contents = [request.credentials]
            key.rotations[request.request_id] = request

    async def _repeat(self, key: Key) -> None:
        """What was acknowledged long ago is asked for again: it must change nothing."""
        self._journal.calls["asked again"] += 1
        if key.rotations and self._chance.random() < 0.5:
            await self._send("RotateApiKey", self._chance.choice(list(key.rotations.values())))
        else:
            await self._send_addition(key)

    async def _send(self, method: str, request: Any) -> Any:
        """The answer, or None where there was none. Its request id marks the audit event too."""
        stub = await self._line.stub()
        self._journal.in_flight += 1
        try:
            return await getattr(stub, method)(
                request, timeout=CALL_SECONDS, metadata=(("x-request-id", request.request_id),)
            )
        except grpc.aio.AioRpcError as error:
            self._journal.note(error)
            # One that fails at once must not be asked in a busy loop.
            await asyncio.sleep(0.01)
            return None
        finally:
            self._journal.in_flight -= 1

    def _goes_on(self, stopping: asyncio.Event) -> bool:
        """Some outcomes stay unknown for good, as they do where a caller gives up."""
        return not stopping.is_set() and self._chance.random() < 0.9


def _credentials() -> Credentials:
    return Credentials(api_key=secrets.token_hex(16), api_secret=secrets.token_hex(32))
