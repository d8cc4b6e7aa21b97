"""A credential in the clear is let go of: once a call was answered, nothing in KeyService's memory refers to it.

What Python has freed it does not overwrite, so this is all that can be promised: no object keeps it.
"""

import asyncio
import gc
import io
import secrets
from collections.abc import Awaitable, Iterator
from typing import Any

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1 import key_service_pb2 as pb
from keyservice.v1.client_pb2 import Client
from tests.support.key_service import KeyService, key_request

Secret = bytearray


def new_secret() -> Secret:
    """A secret that the search can tell from its own copy of it."""
    return Secret(secrets.token_hex(32).encode())


def kept(*wanted: Secret) -> list[type]:
    """What kinds of objects hold one of these as a text, however they are held themselves."""
    gc.collect()
    return [
        type(holder)
        for holder in gc.get_objects()
        for text in gc.get_referents(holder)
        if isinstance(text, str | bytes) and any(each in _raw(text) for each in wanted)
    ]


def _raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode(errors="replace")


def given(secret: Secret) -> Credentials:
    return Credentials(api_key=secret.decode(), api_secret=secret.decode(), extra={"uid": secret.decode()})


async def answered(call: Awaitable[Any]) -> str:
    """The id of the key that it was about; of the call itself nothing is kept."""
    return str((await call).api_key.id)


async def test_a_search_finds_what_somebody_keeps() -> None:
    secret = new_secret()
    keeper = [f"a text with {secret.decode()} in it"]
    assert kept(secret) == [list]
    keeper.clear()
    assert kept(secret) == []


async def test_after_an_answer_nothing_keeps_the_credentials(
    service: KeyService, client: Client, output: io.StringIO
) -> None:
    added, rotated, refused = new_secret(), new_secret(), new_secret()
    key_id = await answered(service.stub.AddApiKey(key_request(client, credentials=given(added))))
    request = pb.RotateApiKeyRequest(api_key_id=key_id, credentials=given(rotated))
    await answered(service.stub.RotateApiKey(request))
    del request
    await _refused(service, key_request(client, label="x" * 65, credentials=given(refused)))
    await _settled()
    assert kept(added, rotated, refused) == []


async def test_after_a_push_nothing_keeps_what_was_opened(
    service: KeyService, client: Client, output: io.StringIO
) -> None:
    secret = new_secret()
    key_id = await answered(service.stub.AddApiKey(key_request(client, credentials=given(secret))))
    # The bridge is away, so that this opens the credentials, tries, and gives up.
    await answered(service.stub.ReinitializeApiKey(pb.ReinitializeApiKeyRequest(api_key_id=key_id)))
    await _settled()
    assert kept(secret) == []


async def _refused(service: KeyService, request: pb.AddApiKeyRequest) -> None:
    try:
        await service.stub.AddApiKey(request)
    except Exception:  # noqa: BLE001 - the error would keep the frames of the call
        return
    raise AssertionError("it was not refused")


async def _settled() -> None:
    """Let the tasks of calls that were answered come to their end."""
    for task in _others():
        if "_handle_rpc" in repr(task.get_coro()):
            await asyncio.wait({task}, timeout=10)


def _others() -> Iterator["asyncio.Task[Any]"]:
    return (task for task in asyncio.all_tasks() if task is not asyncio.current_task())
