"""Client certificates: whom a certificate stands for, by a name in its SAN.

gRPC has checked by then that an authority of ours signed it. Which names mean somebody is a JSON file:

    {"URI:spiffe://example/key-service": {"role": "bridge-writer", "clients": "*"}}
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Final

from cryptography import x509

from servicekit.errors import Unauthenticated
from servicekit.followed import LOOK_EVERY, Followed
from servicekit.rpc import grants
from servicekit.rpc.principal import Principal

_URI: Final = "URI:"
_DNS: Final = "DNS:"
_MOST_REMEMBERED: Final = 1000

AuthContext = Mapping[str, Iterable[bytes]]
"""What gRPC knows of the other side of a connection."""


class Certificates:
    """Knows whom the certificate of a connection stands for."""

    def __init__(
        self,
        principals_file: Path,
        *,
        look_every: timedelta = LOOK_EVERY,
        clock: Callable[[], float] = time,
    ) -> None:
        self._principals = Followed(
            principals_file, read_principals, name="file of principals", look_every=look_every
        )
        self._clock = clock
        self._ends: dict[bytes, float] = {}

    def principal(self, shown: AuthContext) -> Principal:
        """Whom it stands for, or Unauthenticated. A connection may be older than the certificate is good for."""
        principals = self._principals.current()
        found = [principals[name] for name in _names(shown) if name in principals]
        if len(found) != 1:
            raise Unauthenticated(
                "The client certificate stands for nobody that this service knows.",
                reason="CERTIFICATE_UNKNOWN",
            )
        if self._end(shown) <= self._clock():
            raise Unauthenticated("The client certificate has expired.", reason="CERTIFICATE_EXPIRED")
        return found[0]

    def _end(self, shown: AuthContext) -> float:
        [pem] = shown["x509_pem_cert"]
        end = self._ends.get(pem)
        if end is None:
            if len(self._ends) >= _MOST_REMEMBERED:
                del self._ends[next(iter(self._ends))]
            end = self._ends[pem] = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
        return end


def read_principals(text: str) -> dict[str, Principal]:
    """Whom each name stands for; a ValueError where that is not clear."""
    found = json.loads(text)
    if isinstance(found, dict):
        return {_name(name): _principal(name, grant) for name, grant in found.items()}
    raise ValueError("it should be a JSON object, from names of certificates to roles and clients")


def _principal(name: str, grant: object) -> Principal:
    if not isinstance(grant, dict) or grant.keys() != {"role", "clients"}:
        raise ValueError(f'{name} should have a "role" and "clients", and nothing else')
    try:
        return grants.principal(_name(name), grant["role"], grant["clients"])
    except grants.NotAGrantError as error:
        raise ValueError(f"of {name}, {error}") from None


def _name(written: str) -> str:
    if written.startswith(_URI):
        return written
    if written.startswith(_DNS):
        return _DNS + written.removeprefix(_DNS).lower()
    raise ValueError(f"{written} should begin with {_URI} or {_DNS}, as names in a certificate do")


def _names(shown: AuthContext) -> list[str]:
    uris = [_URI + each.decode(errors="replace") for each in shown.get("peer_uri", ())]
    return uris + [_DNS + each.decode(errors="replace").lower() for each in shown.get("peer_dns", ())]
