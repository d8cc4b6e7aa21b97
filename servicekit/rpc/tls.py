"""TLS of the server: its files are read at the start, and again when one of them changes.

A renewal is never a restart. Files that cannot be used (half-written, a key of another certificate) leave the
former certificate in place, and the log says so once for each change.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from servicekit import logs
from servicekit.errors import StartupError

# What a change of a file changes; None while there is no such file.
_Stamp = tuple[int, int, int] | None
_Signature = tuple[_Stamp, ...]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Where the server's certificate is, and whose client certificates it takes."""

    cert_file: Path
    """The certificate chain, PEM."""
    key_file: Path
    """Its private key, PEM, not encrypted."""
    client_ca_file: Path | None = None
    """Every client must then show a certificate of one of these authorities; without it none is asked."""


def server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Credentials that follow the files; StartupError when the files cannot be used now."""
    watched = CertificateFiles(tls)
    initial = watched.first()
    return grpc.dynamic_ssl_server_credentials(
        initial,
        watched.changed,  # type: ignore[arg-type]  # its documentation allows None for no change
        require_client_authentication=tls.client_ca_file is not None,
    )


class CertificateFiles:
    """The files as they were last looked at. gRPC asks at every new connection, from a thread of its own."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._paths = [path for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if path is not None]
        self._seen: _Signature | None = None
        self._log = logs.get(__name__).bind()

    def first(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._signature()
        return self._read()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificate, or None where there is none or it is of no use."""
        signature = self._signature()
        if signature == self._seen:
            return None
        # Taken before the reading, so that what changes meanwhile is seen at the next connection.
        self._seen = signature
        try:
            configuration = self._read()
        except StartupError as error:
            self._log.warning("the former TLS certificate stays in use", reason=str(error))
            return None
        self._log.info("TLS certificate reloaded", cert_file=str(self._tls.cert_file))
        return configuration

    def _signature(self) -> _Signature:
        return tuple(_stamp(path) for path in self._paths)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        try:
            pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
            roots = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
        except OSError as error:
            raise StartupError(f"The TLS file {error.filename} cannot be read: {error.strerror}.") from None
        _check(tls)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def _stamp(path: Path) -> _Stamp:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _check(tls: ServerTls) -> None:
    """gRPC notices bad files only at a handshake, without a word; the standard library says it now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The empty password keeps an encrypted key from asking at the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError:
        raise StartupError(
            f"The TLS files {tls.cert_file} and {tls.key_file} are not a PEM certificate and its plain key."
        ) from None
    if tls.client_ca_file is None:
        return
    try:
        context.load_verify_locations(tls.client_ca_file)
    except OSError:
        raise StartupError(f"The TLS file {tls.client_ca_file} holds no PEM certificate.") from None
