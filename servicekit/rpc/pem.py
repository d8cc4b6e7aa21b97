"""What TLS reads from PEM files. gRPC notices bad ones only at a handshake, without a word; this says it before."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servicekit.errors import StartupError


def require_pair(cert_file: Path, key_file: Path) -> None:
    """A certificate, and the private key that belongs to it."""
    with _told(f"TLS files {cert_file} and {key_file}", "are not a PEM certificate and its plain key"):
        # The empty password keeps an encrypted key from asking at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password="")


def require_authorities(ca_file: Path) -> None:
    with _told(f"TLS file {ca_file}", "holds no PEM certificate"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(ca_file)


@contextmanager
def _told(files: str, unfit: str) -> Iterator[None]:
    """What is wrong with what was read is told apart from what could not be read."""
    try:
        yield
    except ssl.SSLError:
        raise StartupError(f"The {files} {unfit}.") from None
    except OSError as error:
        raise StartupError(f"The {files} cannot be read: {error.strerror}.") from None
