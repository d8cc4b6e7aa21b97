"""Who may call a method: read from the contract, where ``allowed_roles`` stands beside the method.

A role of the ladder admits those above it; ``bridge-writer`` stands outside. A method that says nothing is not
served: the start stops and names it. The library contracts (health, reflection) can't carry the option; the
server gives them a policy of their own.
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from servicekit.errors import StartupError
from servicekit.v1 import policy_pb2


class MissingPolicyError(StartupError):
    """A contract has methods without ``allowed_roles``."""


_LADDER = (policy_pb2.ROLE_READER, policy_pb2.ROLE_TRADER, policy_pb2.ROLE_OPERATOR, policy_pb2.ROLE_ADMIN)
ROLES = {
    policy_pb2.Role.Name(role).removeprefix("ROLE_").lower().replace("_", "-"): role
    for role in (*_LADDER, policy_pb2.ROLE_BRIDGE_WRITER)
}
"""The roles that somebody can have, by the names that people write: the one outside of the ladder last."""
_NAMES = {role: name for name, role in ROLES.items()}


def name_of(role: policy_pb2.Role) -> str:
    """How people write a role."""
    return _NAMES[role]


@dataclass(frozen=True, slots=True)
class Policy:
    """The roles that a contract names for a method, or that it is open to everyone."""

    roles: frozenset[policy_pb2.Role] = frozenset()
    public: bool = False

    def admits(self, role: policy_pb2.Role) -> bool:
        """Whether somebody of this role may call."""
        if role in self.roles:
            return True
        return role in _LADDER and any(least <= role for least in self.roles if least in _LADDER)


PUBLIC = Policy(public=True)


def policies(service: ServiceDescriptor) -> dict[str, Policy]:
    """The policy of every method of a contract, by the method's name."""
    found = {method.name: _policy(method) for method in service.methods}
    missing = [method.full_name for method in service.methods if not found[method.name].roles]
    if missing:
        raise MissingPolicyError(
            f"The contract does not say who may call {', '.join(missing)} (allowed_roles)."
        )
    return found


def _policy(method: MethodDescriptor) -> Policy:
    options: Any = method.GetOptions()  # its stub does not know extensions of ours
    named = options.Extensions[policy_pb2.allowed_roles]
    return Policy(roles=frozenset(named) - {policy_pb2.ROLE_UNSPECIFIED})
