"""Clients of TLS that speak certain versions only, old ones as they were spoken then."""

import asyncio
import ssl
import warnings
from contextlib import suppress
from pathlib import Path


def between(least: ssl.TLSVersion, most: ssl.TLSVersion, ca_file: Path) -> ssl.SSLContext:
    """A client of these versions that trusts this authority."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    speak(context, least, most)
    return context


def only(version: ssl.TLSVersion, ca_file: Path) -> ssl.SSLContext:
    return between(version, version, ca_file)


def speak(context: ssl.SSLContext, least: ssl.TLSVersion, most: ssl.TLSVersion) -> None:
    """Have either side speak these versions, also where the library thinks them too old."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version, context.maximum_version = least, most


async def version_of(port: int, context: ssl.SSLContext) -> str:
    """The version that both sides agree on."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return str(writer.get_extra_info("ssl_object").version())
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
