"""Where the database is: the URL or the components that the settings give, read the way libpq reads them.

asyncpg by way of SQLAlchemy understands neither ``postgres://`` nor ``sslmode=`` nor a socket directory with
a port, so nothing of the raw string reaches it: it gets plain arguments from here. The password is a secret
type from the first line on, and no sentence of this file repeats any part of a URL that might hold it.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

from servicekit.errors import SettingsError

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
ENCRYPTED_MODES = frozenset({"require", "verify-ca", "verify-full"})
SYSTEM_ROOTS = "system"

_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_PARAMETERS = ("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey")
_PARAMETER_NAME = re.compile("[a-z_]+")
_DEFAULT_PORT = 5432


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """One PostgreSQL database and how to reach it. ``str()`` gives the URL back without its password."""

    host: str
    """A name, an address, or the directory of a unix socket (it starts with a slash)."""

    port: int
    database: str
    user: str | None = None
    """None: the name of the operating system's account, as libpq does."""

    password: SecretStr | None = None
    sslmode: str = "prefer"
    sslrootcert: str | None = None
    """A file of trusted authorities, or ``system`` for those of the machine."""

    sslcert: Path | None = None
    sslkey: Path | None = None
    defaulted: tuple[str, ...] = ()
    """Names of the settings that were left to a default which suits a developer's machine only."""

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether what is sent stays on this machine."""
        if self.is_socket or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def where(self) -> str:
        """The server, for sentences: ``db.example:5432``, ``[::1]:5432`` or ``/run/pg:5432``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        account = quote(self.user, safe="") if self.user else ""
        if self.password is not None:
            account += ":***"
        if account:
            account += "@"
        name = quote(self.database, safe="")
        if self.is_socket:
            return f"postgresql://{account}/{name}?host={quote(self.host)}&port={self.port}"
        return f"postgresql://{account}{self.where}/{name}?sslmode={self.sslmode}"


def parse_url(raw: str, *, name: str = "DATABASE_URL") -> DatabaseUrl:
    """Read a URL; ``name`` is the setting that it came from, for the one sentence of a SettingsError."""
    try:
        parts = urlsplit(raw.strip())
        port = parts.port
    except ValueError:
        # The parser's own text quotes what it stumbled over, and that may be a piece of the password.
        raise _malformed(name) from None
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise _malformed(name)
    if "\0" in unquote(raw):
        raise _malformed(name)  # PostgreSQL's protocol ends a text there
    if "@" in parts.path + parts.query:
        # A / or ? in the password ended it too early: what looks like path or query is the rest of it.
        raise _malformed(name)
    query = _query(parts.query, name)
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in parts.path.removeprefix("/"):
        raise SettingsError(f"{name} names no database: postgresql://user:password@host:5432/DATABASE.")
    host = query.pop("host", None) or unquote(_host(parts.netloc))
    if not host or "," in host:
        raise SettingsError(
            f"{name} has to name exactly one host, or a socket directory as ?host=/directory."
        )
    _check_host(host, name)
    return DatabaseUrl(
        host=host,
        port=_port(query.pop("port", None), name) or port or _DEFAULT_PORT,
        user=unquote(parts.username) if parts.username else None,
        password=SecretStr(unquote(parts.password)) if parts.password else None,
        database=database,
        **_tls(host, query, name),
    )


def url_from_components(
    *,
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    password: SecretStr | None = None,
    database: str | None = None,
    sslmode: str | None = None,
) -> DatabaseUrl:
    """The same from DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME and DB_SSLMODE; what is absent is
    remembered."""
    given = {"DB_HOST": host, "DB_USER": user, "DB_NAME": database}
    host = host or "localhost"
    _check_host(host, "DB_HOST")
    query = {"sslmode": sslmode} if sslmode else {}
    return DatabaseUrl(
        host=host,
        port=port or _DEFAULT_PORT,
        user=user or "keybridge",
        password=password,
        database=database or "keybridge",
        defaulted=tuple(setting for setting, value in given.items() if not value),
        **_tls(host, query, "DB_SSLMODE"),
    )


def url_from_environment(environ: Mapping[str, str]) -> DatabaseUrl:
    """DATABASE_URL, else the components: for the tools of a developer, who has no settings object at hand."""
    if raw := environ.get("DATABASE_URL"):
        return parse_url(raw)
    password = environ.get("DB_PASSWORD")
    return url_from_components(
        host=environ.get("DB_HOST"),
        port=_port(environ.get("DB_PORT"), "DB_PORT"),
        user=environ.get("DB_USER"),
        password=SecretStr(password) if password else None,
        database=environ.get("DB_NAME"),
        sslmode=environ.get("DB_SSLMODE"),
    )


def check_production(url: DatabaseUrl) -> None:
    """What KEYBRIDGE_ENV=production refuses: local defaults, and credentials in clear over a network."""
    if url.defaulted:
        raise SettingsError(
            "KEYBRIDGE_ENV=production does not use local defaults: "
            f"set {', '.join(url.defaulted)}, or DATABASE_URL."
        )
    if not url.is_local and url.sslmode not in ENCRYPTED_MODES:
        raise SettingsError(
            f"KEYBRIDGE_ENV=production sends nothing unencrypted to the database at {url.where}: "
            f"set sslmode=verify-full (or require or verify-ca) instead of {url.sslmode}."
        )


def _host(netloc: str) -> str:
    """The host as written (urlsplit lowers its case, which a percent-encoded socket directory would not
    survive)."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _check_host(host: str, name: str) -> None:
    """Looking it up would raise a UnicodeError, which no one expects of a network."""
    if host.startswith("/"):
        return
    try:
        host.encode("idna")
    except UnicodeError:
        raise SettingsError(
            f"{name} names a host that can't exist: each part between dots has 1 to 63 characters."
        ) from None


def _query(raw: str, name: str) -> dict[str, str]:
    query = dict(parse_qsl(raw, keep_blank_values=True))
    if "ssl" in query:
        # What SQLAlchemy's own dialect asks people to write instead of sslmode.
        mode = query.pop("ssl")
        query.setdefault("sslmode", {"true": "require", "false": "disable"}.get(mode.lower(), mode))
    unknown = sorted(set(query) - set(_PARAMETERS))
    if unknown:
        if not _PARAMETER_NAME.fullmatch(unknown[0]):
            raise _malformed(name)
        raise SettingsError(
            f"{name} has the unknown parameter {unknown[0]!r}: known are {', '.join(_PARAMETERS)}."
        )
    return query


def _port(raw: str | None, name: str) -> int | None:
    if not raw:
        return None
    if not (raw.isascii() and raw.isdigit() and 0 < int(raw) < 65536):
        raise SettingsError(f"The port in {name} has to be a number from 1 to 65535.")
    return int(raw)


class _Tls(TypedDict):
    """The arguments of DatabaseUrl that say how the connection is protected."""

    sslmode: str
    sslrootcert: str | None
    sslcert: Path | None
    sslkey: Path | None


def _tls(host: str, query: Mapping[str, str], name: str) -> _Tls:
    """The TLS part of a URL, refused where it promises something that would not be kept."""
    mode = query.get("sslmode") or "prefer"
    roots, cert, key = query.get("sslrootcert"), query.get("sslcert"), query.get("sslkey")
    if mode not in SSL_MODES:
        raise SettingsError(f"The sslmode in {name} has to be one of {', '.join(SSL_MODES)}.")
    if mode not in ENCRYPTED_MODES and (roots or cert or key):
        raise SettingsError(
            f"{name} gives certificates, which need sslmode=require, verify-ca or verify-full."
        )
    if mode == "verify-ca" and not roots:
        raise SettingsError(f"{name} says sslmode=verify-ca, which needs sslrootcert=FILE.")
    if roots == SYSTEM_ROOTS and mode != "verify-full":
        # Anyone can get a certificate from a public authority: it proves nothing unless the name is checked.
        raise SettingsError(f"{name} says sslrootcert=system, which needs sslmode=verify-full.")
    if key and not cert:
        raise SettingsError(f"{name} gives sslkey without sslcert.")
    return {
        "sslmode": "disable" if host.startswith("/") else mode,
        "sslrootcert": roots or None,
        "sslcert": Path(cert) if cert else None,
        "sslkey": Path(key) if key else None,
    }


def _malformed(name: str) -> SettingsError:
    return SettingsError(
        f"{name} has to look like postgresql://user:password@host:5432/database, "
        "with special characters in the password percent-encoded."
    )
