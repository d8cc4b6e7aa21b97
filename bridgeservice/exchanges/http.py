"""The HTTP session of one exchange: its own connections, so that one that hangs takes nobody else's."""

import ssl
from contextvars import ContextVar
from typing import Self

import aiohttp
import certifi
from aiohttp.connector import Connection
from ccxt.base.errors import BadResponse

from bridgeservice.exchanges.options import Options

# How many bytes the answer to the request of this task may have.
largest_answer: ContextVar[int] = ContextVar("keybridge_largest_answer", default=4 * 2**20)

_CHUNK = 2**16
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})


def _trusted_authorities() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=certifi.where())
    return context


# The machine's certificate authorities and those that ccxt brings. Reading them takes 14 ms, so all exchanges share
# them, and this module is imported outside of the event loop.
TLS = _trusted_authorities()


class BoundedResponse(aiohttp.ClientResponse):
    """An answer of which no more is read than its bound allows, and that says so when it breaks off.

    One that points elsewhere is refused: to follow it would take the key and the signature to another host.
    """

    async def start(self, connection: Connection) -> Self:
        await super().start(connection)
        if self.status in _REDIRECTIONS:
            self.close()
            raise BadResponse("the answer points elsewhere")
        return self

    async def read(self) -> bytes:
        if self._body is None:
            self._body = await self._read_bounded(largest_answer.get())
        return self._body

    async def _read_bounded(self, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in self.content.iter_chunked(_CHUNK):
                size += len(chunk)
                if size > limit:
                    self.close()
                    raise BadResponse(f"more than {limit} bytes")
                chunks.append(chunk)
        except aiohttp.ClientPayloadError:
            # ccxt would call it an ExchangeError, which means that the request was refused.
            raise BadResponse("the answer broke off") from None
        return b"".join(chunks)


def open_session(options: Options) -> aiohttp.ClientSession:
    """A session for one exchange. It takes no proxy from the environment and keeps no cookies."""
    connector = aiohttp.TCPConnector(limit=options.connections, ssl=TLS)
    return aiohttp.ClientSession(
        connector=connector,
        response_class=BoundedResponse,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
