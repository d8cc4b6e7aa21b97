"""By what those around ``keybridge up`` prove who they are: its own authority, certificates, signing key and tokens.

All of it is in KEYBRIDGE_HOME, kept across runs, and renewed while there is still a third of its time left. What the
variables say of authentication goes before; in production nothing is made by the way.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Never

from bridgeservice.settings import BridgeServiceSettings
from keybridge import private_files, revocation
from keybridge.authority import Authority, names_of
from keybridge.signing import Order, SigningKey, new_key
from keyservice.settings import KeyServiceSettings
from servicekit import logs
from servicekit.config import Address, ServiceSettings
from servicekit.errors import StartupError
from servicekit.rpc.deny_list import DenyList

AUDIENCES: Final = ("keyservice", "bridgeservice")
ISSUER: Final = "keybridge"

_TOKENS_LAST: Final = timedelta(days=30)
_LOOK_EVERY: Final = timedelta(hours=1)
_SERVICES: Final[tuple[type[ServiceSettings], ...]] = (KeyServiceSettings, BridgeServiceSettings)

_log = logs.get(__name__)


class Identities:
    """The files, by the names that they have in KEYBRIDGE_HOME."""

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.signing_key_file = home / "signing-key.pem"
        self.jwks_file = home / "jwks.json"
        self.deny_list_file = home / "deny-list.json"
        self.admin_token_file = home / "admin.token"
        self.keyservice_token_file = home / "keyservice.token"
        self.ca_file = home / "ca.pem"
        self._home = home
        self._clock = clock
        self._environ = environ
        self._asked = [each for each in _SERVICES if _leaves_open(environ, each)]
        self._reachable = [each for each in self._asked if _needs_certificate(environ, each)]

    @property
    def needed(self) -> bool:
        """Whether there is anything that the variables leave open."""
        return bool(self._asked)

    @property
    def variables(self) -> dict[str, str]:
        """What the services are told, beside the variables that there are."""
        own: dict[str, str] = {}
        for each in self._asked:
            own[each.variable("jwks_file")] = str(self.jwks_file)
            own[each.variable("deny_list_file")] = str(self.deny_list_file)
        for each in self._reachable:
            cert_file, key_file = self._certificate(each)
            own[each.variable("tls_cert_file")], own[each.variable("tls_key_file")] = (
                str(cert_file),
                str(key_file),
            )
        if BridgeServiceSettings in self._asked:
            own[KeyServiceSettings.variable("bridge_token_file")] = str(self.keyservice_token_file)
        if BridgeServiceSettings in self._reachable:
            own[KeyServiceSettings.variable("bridge_tls_ca_file")] = str(self.ca_file)
            own[KeyServiceSettings.variable("bridge_tls_server_name")] = "localhost"
        return {name: value for name, value in own.items() if not self._environ.get(name)}

    @property
    def deny_lists(self) -> dict[str, Path | None]:
        """By its variable, the file with which each service denies tokens; None where it is told of none."""
        told = {**self._environ, **self.variables}
        names = [each.variable("deny_list_file") for each in _SERVICES]
        return {name: Path(told[name]) if told.get(name) else None for name in names}

    def renew(self) -> None:
        """Make what there is not, and anew what will not do for long."""
        private_files.make(self.signing_key_file, new_key)
        key = SigningKey.load(self.signing_key_file)
        if private_files.read(self.jwks_file) != key.jwks:
            private_files.write(self.jwks_file, key.jwks)
        private_files.make(self.deny_list_file, DenyList().text)
        self._keep_token(key, self.admin_token_file, "admin", "admin", AUDIENCES)
        self._keep_token(key, self.keyservice_token_file, "keyservice", "bridge-writer", AUDIENCES[1:])
        authority = Authority(self.ca_file, self._home / "ca.key", self._clock())
        for each in _SERVICES:
            authority.keep(*self._certificate(each), names_of(_listen(self._environ, each).host))

    async def keep_renewed(self) -> Never:
        """For as long as the services run, which take up whatever has changed."""
        while True:
            await asyncio.sleep(_LOOK_EVERY.total_seconds())
            try:
                if self.needed:
                    await asyncio.to_thread(self.renew)
            except StartupError as error:
                _log.error(
                    "what services and callers prove themselves by can't be renewed", reason=str(error)
                )

    def _keep_token(
        self, key: SigningKey, file: Path, subject: str, role: str, audience: Sequence[str]
    ) -> None:
        if not self._will_do(key.read(private_files.read(file).strip())):
            order = Order(subject, role, None, audience, ISSUER, _TOKENS_LAST)
            private_files.write(file, key.mint(order, self._clock()).token + "\n")

    def _will_do(self, claims: Mapping[str, Any] | None) -> bool:
        """Whether a token is good for some time yet."""
        denied = (revocation.read(file) for file in self.deny_lists.values() if file)
        if claims is None or any(each.denies(claims) for each in denied):
            return False
        left = timedelta(seconds=claims["exp"] - self._clock().timestamp())
        return left > _TOKENS_LAST / 3

    def _certificate(self, settings: type[ServiceSettings]) -> tuple[Path, Path]:
        name = settings.prefix().rstrip("_").lower()
        return self._home / f"{name}.pem", self._home / f"{name}.key"


def _leaves_open(environ: Mapping[str, str], settings: type[ServiceSettings]) -> bool:
    if environ.get("KEYBRIDGE_ENV") == "production":
        return False
    return not any(environ.get(settings.variable(way)) for way in ("jwks_file", "principals_file"))


def _needs_certificate(environ: Mapping[str, str], settings: type[ServiceSettings]) -> bool:
    if environ.get(settings.variable("tls_cert_file")) or environ.get(settings.variable("tls_key_file")):
        return False
    return not _listen(environ, settings).is_loopback


def _listen(environ: Mapping[str, str], settings: type[ServiceSettings]) -> Address:
    """Where a service is to listen; what is no address is told of when the settings are read."""
    default: Address = settings.model_fields["listen"].default
    try:
        return Address.parse(environ.get(settings.variable("listen")) or str(default))
    except ValueError:
        return default
