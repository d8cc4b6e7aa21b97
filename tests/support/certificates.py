"""Certificate authorities and certificates for tests, made at run time and valid for an hour."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, cert_file: Path, key_file: Path, password: str | None = None) -> None:
        """As PEM; with a password the key is encrypted."""
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        cert_file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


class Authority:
    """Signs certificates, and is trusted by whoever has its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = self._sign(self._name, self._key, (basic, True))

    def write(self, ca_file: Path) -> None:
        """The authority's own certificate, as PEM."""
        ca_file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, uri: str | None = None, valid_for: timedelta = _HOUR) -> Certificate:
        """A certificate for a host or a client of this name, and for the loopback; it began an hour ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
        if uri is not None:
            names.append(x509.UniformResourceIdentifier(uri))
        extension = (x509.SubjectAlternativeName(names), False)
        return Certificate(self._sign(_named(name), key, extension, valid_for), key)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extension: tuple[x509.ExtensionType, bool],
        valid_for: timedelta = _HOUR,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _HOUR)
            .not_valid_after(now + valid_for)
            .add_extension(extension[0], critical=extension[1])
            .sign(self._key, hashes.SHA256())
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
