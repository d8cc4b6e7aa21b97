"""Who calls, and whether they may: by a bearer token, or else by the certificate of their connection.

A token that is there counts, also where it is refused: a caller who brings one is never taken for somebody else.
"""

from typing import Final

from servicekit.errors import PermissionDenied, Unauthenticated
from servicekit.rpc.call import Call
from servicekit.rpc.certificates import Certificates
from servicekit.rpc.policy import Policy, name_of
from servicekit.rpc.principal import Principal
from servicekit.rpc.tokens import Tokens

_HEADER: Final = "authorization"
_SCHEME: Final = "bearer"


class Authenticated:
    """Admits principals with a role that the contract names. At least one of the two ways has to be given."""

    def __init__(self, *, tokens: Tokens | None = None, certificates: Certificates | None = None) -> None:
        self._tokens = tokens
        self._certificates = certificates

    async def authorize(self, call: Call, policy: Policy, /) -> Principal | None:
        if policy.public:
            return None
        principal = self._caller(call)
        if not policy.admits(principal.role):
            raise PermissionDenied(
                f"The role {name_of(principal.role)} may not call {call.method.name}.",
                reason="ROLE_NOT_ALLOWED",
                metadata={"role": name_of(principal.role), "method": call.method.name},
            )
        return principal

    def _caller(self, call: Call) -> Principal:
        given = call.headers(_HEADER)
        if self._tokens is not None and given:
            return self._tokens.principal(_bearer(given))
        if self._certificates is not None:
            return self._certificates.principal(call.context.auth_context())
        raise Unauthenticated(
            "This call needs a bearer token in the header authorization.", reason="CREDENTIALS_MISSING"
        )


def _bearer(given: list[str]) -> str:
    """The one token that was sent; of two nobody could say which one counts."""
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != _SCHEME:
        raise Unauthenticated(
            "The header authorization should be there once, as: Bearer TOKEN.", reason="CREDENTIALS_MALFORMED"
        )
    return token.strip()
