"""TLS in front of a PostgreSQL that has none: the wheels' build lacks it, and what is tested is our side.

It answers the SSLRequest of the wire protocol as PostgreSQL does, and passes the rest on to the socket.
"""

import asyncio
import contextlib
import ssl
import struct
from pathlib import Path

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsFront:
    """Listens on loopback; counts the sessions that came encrypted and those that came in clear."""

    def __init__(self, socket: Path, context: ssl.SSLContext, *, takes_plain: bool) -> None:
        self._socket = socket
        self._context = context
        self._takes_plain = takes_plain
        self._sessions: set[asyncio.Task[None]] = set()
        self.encrypted = 0
        self.plain = 0
        self.port = 0

    async def __aenter__(self) -> "TlsFront":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._session(reader, writer)
        finally:
            writer.transport.abort()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(len(_SSL_REQUEST))
        if first == _SSL_REQUEST:
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._context)
            first = b""
            self.encrypted += 1
        elif not self._takes_plain:
            writer.write(_refusal("no pg_hba.conf entry, no encryption"))
            await writer.drain()
            return
        else:
            self.plain += 1
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        server_writer.write(first)
        try:
            await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))
        finally:
            server_writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError  # one side is gone: end the other as well


def _refusal(message: str) -> bytes:
    """An ErrorResponse as PostgreSQL sends it to a client that pg_hba.conf does not let in."""
    body = b"SFATAL\0VFATAL\0C28000\0M" + message.encode() + b"\0\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body
