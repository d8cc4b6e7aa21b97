"""The all-in-one's own certificate authority, and the certificates that it gives to the services."""

import socket
from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from keybridge import private_files
from servicekit.errors import StartupError

_LASTS: Final = timedelta(days=3650)
_CERTIFICATES_LAST: Final = timedelta(days=90)
# The clock of who checks may be behind ours.
_SLACK: Final = timedelta(minutes=5)


class Authority:
    """Kept in two files, and made when there is none, or when it does not outlive what it would sign."""

    def __init__(self, ca_file: Path, key_file: Path, now: datetime) -> None:
        self._now = now
        self._ca_file = ca_file
        if not ca_file.exists() or not key_file.exists() or _ends(ca_file) < now + 2 * _CERTIFICATES_LAST:
            _make_authority(ca_file, key_file, now)
        self._certificate = _load(ca_file)
        self._key = _load_key(key_file)

    def keep(self, cert_file: Path, key_file: Path, names: Iterable[str]) -> None:
        """A certificate for a server of these names, issued anew where the one that is there will not do for long."""
        wanted = list(dict.fromkeys(names))
        if cert_file.exists() and key_file.exists() and self._will_do(_load(cert_file), wanted):
            return
        key = generate_private_key(SECP256R1())
        builder = _builder(wanted[0], key.public_key(), self._now, _CERTIFICATES_LAST)
        builder = builder.issuer_name(self._certificate.subject)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(each) for each in wanted]), critical=False
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        # The key first: a certificate without its key is of no use to whoever reads in between, and is not taken.
        private_files.write(key_file, _pem(key))
        private_files.write(cert_file, _text(builder.sign(self._key, hashes.SHA256())))

    def _will_do(self, present: x509.Certificate, names: list[str]) -> bool:
        if present.not_valid_after_utc < self._now + _CERTIFICATES_LAST / 3:
            return False
        try:
            present.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        held = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return all(_name(each) in held for each in names)


def names_of(host: str) -> list[str]:
    """By which names a server that listens there is called."""
    own = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    return own if _is_unspecified(host) else [*own, host]


def _make_authority(ca_file: Path, key_file: Path, now: datetime) -> None:
    key = generate_private_key(SECP256R1())
    name = f"keybridge up, {now:%Y-%m-%d %H:%M:%S}"
    builder = _builder(name, key.public_key(), now, _LASTS)
    builder = builder.issuer_name(_subject(name))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(
        x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        ),
        critical=True,
    )
    private_files.write(key_file, _pem(key))
    private_files.write(ca_file, _text(builder.sign(key, hashes.SHA256())))


def _builder(
    name: str, public_key: EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _ends(cert_file: Path) -> datetime:
    return _load(cert_file).not_valid_after_utc


def _load(cert_file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(cert_file.read_bytes())
    except (OSError, ValueError):
        raise StartupError(f"{cert_file} is not a certificate that can be read.") from None


def _load_key(key_file: Path) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        key = None
    if isinstance(key, EllipticCurvePrivateKey):
        return key
    raise StartupError(f"{key_file} is not the private key of keybridge's own authority.") from None


def _pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
