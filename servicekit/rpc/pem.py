"""What TLS reads from PEM files. gRPC notices bad ones only at a handshake, without a word; this says it before."""

import ssl
from pathlib import Path

from servicekit.errors import StartupError


def require_pair(cert_file: Path, key_file: Path) -> None:
    """A certificate, and the private key that belongs to it."""
    try:
        # The empty password keeps an encrypted key from asking at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password="")
    except OSError:
        raise StartupError(
            f"The TLS files {cert_file} and {key_file} are not a PEM certificate and its plain key."
        ) from None


def require_authorities(ca_file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(ca_file)
    except OSError:
        raise StartupError(f"The TLS file {ca_file} holds no PEM certificate.") from None
