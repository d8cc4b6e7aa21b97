"""Bearer tokens: JWTs that a key of ours signed, for this service, and that nobody has revoked.

What is told of a token that was refused depends on its signature: one that is not ours is TOKEN_INVALID, for
whatever reason; of one that is, its holder hears what is wrong with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, Final

import jwt

from servicekit.errors import Unauthenticated
from servicekit.followed import LOOK_EVERY, Followed
from servicekit.rpc import grants
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.jwks import TokenKeys
from servicekit.rpc.principal import Principal

_REQUIRED: Final = ["exp", "iss", "aud", "sub", "role", "clients"]
_MOST_REMEMBERED: Final = 2000
_NOTHING_DENIED: Final = DenyList()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """Which tokens are good."""

    jwks_file: Path
    """The keys that they are signed with."""
    issuer: str
    """Who issued them."""
    audience: str
    """Whom they are for."""
    leeway: timedelta
    """How much the issuer's clock may differ from ours."""
    deny_list_file: Path | None = None
    """Those that are denied all the same."""
    look_every: timedelta = LOOK_EVERY
    """How often the two files are looked at."""


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    until: float


class Tokens:
    """Knows who a token's bearer is.

    A token that was verified is remembered, by its hash, until it expires or one of the files changes.
    """

    def __init__(self, options: TokenOptions, clock: Callable[[], float] = time) -> None:
        self._options = options
        self._clock = clock
        every = options.look_every
        self._keys = Followed(options.jwks_file, TokenKeys.read, name="JWKS file", look_every=every)
        self._denied = (
            Followed(options.deny_list_file, DenyList.read, name="deny-list", look_every=every)
            if options.deny_list_file
            else None
        )
        self._in_force: tuple[TokenKeys, DenyList] | None = None
        self._verified: dict[bytes, _Verified] = {}

    def principal(self, token: str) -> Principal:
        """Whoever bears it, or Unauthenticated."""
        keys, denied = self._current()
        digest = sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is None or known.until <= self._clock():
            self._verified.pop(digest, None)
            known = self._verify(token, keys, denied)
            if len(self._verified) >= _MOST_REMEMBERED:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = known
        return known.principal

    def _current(self) -> tuple[TokenKeys, DenyList]:
        keys, denied = self._keys.current(), self._denied.current() if self._denied else _NOTHING_DENIED
        before = self._in_force
        if before is None or keys is not before[0] or denied is not before[1]:
            self._in_force = (keys, denied)
            self._verified.clear()
        return keys, denied

    def _verify(self, token: str, keys: TokenKeys, denied: DenyList) -> _Verified:
        claims = self._claims(token, keys)
        try:
            principal = grants.principal(claims["sub"], claims["role"], claims["clients"])
        except grants.NotAGrantError as error:
            raise _claims_invalid(str(error)) from None
        if denied.denies(claims):
            raise Unauthenticated("The token was revoked.", reason="TOKEN_REVOKED")
        return _Verified(principal, float(claims["exp"]) + self._options.leeway.total_seconds())

    def _claims(self, token: str, keys: TokenKeys) -> dict[str, Any]:
        try:
            key = keys.find(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise _invalid()
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._options.audience,
                issuer=self._options.issuer,
                leeway=self._options.leeway,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.", reason="TOKEN_EXPIRED") from None
        except jwt.ImmatureSignatureError:
            raise Unauthenticated("The token is not valid yet.", reason="TOKEN_NOT_YET_VALID") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise Unauthenticated(
                "The token is for another service, or of another issuer.", reason="TOKEN_NOT_FOR_THIS_SERVICE"
            ) from None
        except jwt.MissingRequiredClaimError as error:
            raise _claims_invalid(f"{error.claim} is missing") from None
        except jwt.PyJWTError:
            raise _invalid() from None


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not one that a key of this service signed.", reason="TOKEN_INVALID")


def _claims_invalid(what: str) -> Unauthenticated:
    return Unauthenticated(
        f"The claims of the token do not say who calls: {what}.", reason="TOKEN_CLAIMS_INVALID"
    )
