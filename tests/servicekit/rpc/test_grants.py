"""What is granted by text that somebody else wrote: exactly that, or nothing."""

from uuid import UUID, uuid4

import pytest

from keyservice.records import ANYBODY
from keyservice.store.adoption_events import ADOPTION, MIGRATION
from keyservice.store.audit import HOUSEKEEPING
from servicekit.rpc import grants
from servicekit.rpc.policy import ROLES
from servicekit.rpc.principal import Principal


def test_a_name_a_role_and_clients_make_a_principal() -> None:
    one = str(uuid4())
    limited = grants.principal("alice", "trader", [one])
    assert limited == Principal("alice", ROLES["trader"], frozenset({UUID(one)}))
    assert grants.principal("URI:spiffe://example/x", "bridge-writer", "*").clients is None
    assert grants.principal("alice", "reader", []).clients == frozenset()


@pytest.mark.parametrize("name", ["", " alice", "alice\n", "a\u200bb", "x" * 256, None, 7, ["alice"]])
def test_a_name_that_could_be_mistaken_is_refused(name: object) -> None:
    with pytest.raises(grants.NotAGrantError, match="the name should"):
        grants.principal(name, "reader", "*")


@pytest.mark.parametrize("role", ["", "Reader", "root", "ROLE_ADMIN", "unspecified", 4, None, ["admin"]])
def test_a_role_that_there_is_not_is_refused(role: object) -> None:
    with pytest.raises(grants.NotAGrantError, match="the role should be one of reader, trader,"):
        grants.principal("alice", role, "*")


@pytest.mark.parametrize(
    "clients",
    [
        "",
        "all",
        "123e4567-e89b-12d3-a456-426614174000",
        None,
        {},
        1,
        ["*"],
        [None],
        ["urn:uuid:" + str(uuid4())],
    ],
)
def test_clients_that_are_not_clearly_said_are_refused(clients: object) -> None:
    with pytest.raises(grants.NotAGrantError, match="clients"):
        grants.principal("alice", "reader", clients)


def test_nobody_is_called_as_the_audit_calls_those_who_did_not_call() -> None:
    assert {ADOPTION, ANYBODY, HOUSEKEEPING, MIGRATION} == grants.RESERVED
    for name in grants.RESERVED:
        with pytest.raises(grants.NotAGrantError, match="stands for nobody who calls"):
            grants.principal(name, "reader", "*")
