"""The policy of a method comes from its contract, and a contract without one does not start; and whom it admits."""

import pytest

from servicekit.errors import StartupError
from servicekit.rpc.policy import ROLES, MissingPolicyError, Policy, name_of, policies
from servicekit.v1 import policy_pb2
from tests.support.probe import PROBE, make_contract

LADDER = ["reader", "trader", "operator", "admin"]


def test_the_roles_are_those_of_the_contract() -> None:
    assert policies(PROBE)["GetEcho"].roles == {policy_pb2.ROLE_READER}
    assert not policies(PROBE)["GetEcho"].public


@pytest.mark.parametrize("roles", [(), (policy_pb2.ROLE_UNSPECIFIED,)])
def test_a_method_that_admits_nobody_stops_the_start_and_is_named(roles: tuple[int, ...]) -> None:
    package = f"keybridge.nopolicy{len(roles)}.v1"
    contract = make_contract(package, [("GetEcho", False, False), ("AddEcho", False, False)], roles=roles)

    with pytest.raises(
        MissingPolicyError, match=rf"{package}.Probe.GetEcho, {package}.Probe.AddEcho"
    ) as caught:
        policies(contract)

    assert isinstance(caught.value, StartupError)


def test_a_role_of_the_ladder_admits_itself_and_those_above_it_only() -> None:
    for least in LADDER:
        policy = Policy(frozenset({ROLES[least]}))
        admitted = [name for name, role in ROLES.items() if policy.admits(role)]
        assert admitted == LADDER[LADDER.index(least) :]


def test_the_bridge_writer_is_admitted_where_it_is_named_and_nowhere_else() -> None:
    writer = ROLES["bridge-writer"]
    alone = Policy(frozenset({writer}))
    assert [name for name, role in ROLES.items() if alone.admits(role)] == ["bridge-writer"]
    beside = Policy(frozenset({ROLES["operator"], writer}))
    assert [name for name, role in ROLES.items() if beside.admits(role)] == [
        "operator",
        "admin",
        "bridge-writer",
    ]


@pytest.mark.parametrize("name", ROLES)
def test_a_policy_without_roles_admits_nobody(name: str) -> None:
    assert not Policy().admits(ROLES[name])
    assert name_of(ROLES[name]) == name
