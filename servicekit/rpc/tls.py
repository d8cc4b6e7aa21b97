"""TLS of the server: its files are read at the start, and again when one of them changes.

A renewal is never a restart. Files that cannot be used (half-written, a key of another certificate) leave the
former certificate in place until they can be, and the log says so once for each change.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc

from servicekit import logs
from servicekit.errors import StartupError
from servicekit.files import Watched
from servicekit.rpc.pem import require_authorities, require_pair


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
        self._files = Watched(
            path for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if path is not None
        )
        self._log = logs.get(__name__).bind()

    def first(self) -> grpc.ServerCertificateConfiguration:
        return self._read()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificate, or None where there is none or it is of no use."""
        configuration = self._files.take_up(self._read, self._refused)
        if configuration is not None:
            self._log.info("TLS certificate reloaded", cert_file=str(self._tls.cert_file))
        return configuration

    def _refused(self, reason: str) -> None:
        self._log.warning("the former TLS certificate stays in use", reason=reason)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        try:
            pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
            roots = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
        except OSError as error:
            raise StartupError(f"The TLS file {error.filename} cannot be read: {error.strerror}.") from None
        require_pair(tls.cert_file, tls.key_file)
        if tls.client_ca_file:
            require_authorities(tls.client_ca_file)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)
