"""What somebody is granted, as tokens and settings write it: a role by its name, and clients by their ids.

Whatever does not say exactly this is refused, so that nothing is granted by a misunderstanding.
"""

from typing import Final
from uuid import UUID

from servicekit.rpc.policy import ROLES
from servicekit.rpc.principal import Principal
from servicekit.v1 import policy_pb2
from servicekit.validation import parse_id

ALL: Final = "*"
"""Stands for all clients."""

LONGEST_NAME: Final = 255

RESERVED: Final = frozenset({"adoption", "anonymous", "housekeeping", "migration"})
"""How the audit calls what happens on nobody's behalf, or on somebody's who was not asked who he is."""


class NotAGrantError(ValueError):
    """What is written grants nothing; the sentence says which part of it, and never quotes it."""


def principal(name: object, role: object, clients: object) -> Principal:
    """Whoever is meant, out of text that somebody else wrote."""
    return Principal(_name(name), _role(role), _clients(clients))


def _name(given: object) -> str:
    if not isinstance(given, str) or not given.isprintable() or given != given.strip():
        raise NotAGrantError("the name should be a line of text")
    if not 0 < len(given) <= LONGEST_NAME:
        raise NotAGrantError(f"the name should have 1 to {LONGEST_NAME} characters")
    if given in RESERVED:
        raise NotAGrantError(f"the name {given} stands for nobody who calls")
    return given


def _role(given: object) -> policy_pb2.Role:
    if isinstance(given, str) and given in ROLES:
        return ROLES[given]
    raise NotAGrantError(f"the role should be one of {', '.join(ROLES)}")


def _clients(given: object) -> frozenset[UUID] | None:
    if given == ALL:
        return None
    if not isinstance(given, list):
        raise NotAGrantError('clients should be a list of client ids, or "*" for all')
    return frozenset(_client(each) for each in given)


def _client(given: object) -> UUID:
    found = parse_id(given) if isinstance(given, str) else None
    if found is None:
        raise NotAGrantError("one of the clients is not the id of a client")
    return found
