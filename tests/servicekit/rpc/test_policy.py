"""The policy of a method comes from its contract, and a contract without one does not start."""

import pytest

from servicekit.errors import StartupError
from servicekit.rpc.policy import MissingPolicyError, policies
from servicekit.v1 import policy_pb2
from tests.support.probe import PROBE, make_contract


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
