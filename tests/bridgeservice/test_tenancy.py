"""Whose an account is, by its name and nothing else."""

from typing import Any
from uuid import UUID

import pytest

from bridgeservice import tenancy
from bridgeservice.v1 import trading_bridge_pb2 as pb
from keyservice.records import account_name_of
from servicekit.errors import InvalidArgument, KeybridgeError, NotFound
from servicekit.rpc.call import Call, Method
from servicekit.rpc.policy import Policy
from servicekit.rpc.principal import Principal
from servicekit.v1 import policy_pb2

MINE = UUID("123e4567-e89b-12d3-a456-426614174abc")
THEIRS = UUID("9c6b2f1e-6f0a-4f0e-9b1d-3f1f6a7d2c55")
FIELDS = pb.DESCRIPTOR.message_types_by_name["GetAccountRequest"].fields_by_name


def call_of(clients: frozenset[UUID] | None) -> Call:
    principal = Principal("somebody", policy_pb2.ROLE_READER, clients)
    context: Any = None
    return Call(Method("test.Service", "Call", Policy()), context, principal=principal)


def refusal(name: str, call: Call) -> KeybridgeError | None:
    check = tenancy.of(FIELDS)
    assert check is not None
    try:
        check(pb.GetAccountRequest(account_name=name), call)
    except KeybridgeError as error:
        return error
    return None


def test_an_account_of_ones_own_client_may_be_named() -> None:
    assert refusal(f"client_{MINE}", call_of(frozenset({MINE, THEIRS}))) is None
    assert account_name_of(MINE) == f"client_{MINE}"


@pytest.mark.parametrize(
    "name",
    [
        f"client_{THEIRS}",
        f"client_{MINE}".upper(),
        f"client_{str(MINE).upper()}",
        f"client_{MINE.hex}",
        f"client_{{{MINE}}}",
        f"client_urn:uuid:{MINE}",
        f"client_client_{MINE}",
        f"client_{MINE}0",
        "client_",
        str(MINE),
        "ada",
    ],
)
def test_any_other_name_is_of_an_account_that_is_not_there(name: str) -> None:
    error = refusal(name, call_of(frozenset({MINE})))
    assert isinstance(error, NotFound)
    assert (error.reason, error.metadata) == ("ACCOUNT_NOT_FOUND", {"account": name})


def test_who_is_limited_has_to_name_an_account() -> None:
    for name in ("", " ", "x" * 200):
        assert isinstance(refusal(name, call_of(frozenset({MINE}))), InvalidArgument)


@pytest.mark.parametrize("name", ["", "ada", f"client_{THEIRS}"])
def test_who_may_see_all_may_name_whatever_there_is(name: str) -> None:
    assert refusal(name, call_of(None)) is None
    nobody: Any = None
    assert refusal(name, Call(Method("test.Service", "Call", Policy()), nobody)) is None


def test_a_caller_of_no_clients_has_no_account() -> None:
    assert isinstance(refusal(f"client_{MINE}", call_of(frozenset())), NotFound)
    assert tenancy.accounts_of(call_of(frozenset())) == []


def test_lists_of_accounts_are_of_ones_own() -> None:
    assert tenancy.accounts_of(call_of(frozenset({MINE}))) == [f"client_{MINE}"]
    assert tenancy.accounts_of(call_of(None)) is None


def test_every_method_that_names_an_account_is_guarded_and_no_other_is() -> None:
    for method in pb.DESCRIPTOR.services_by_name["TradingBridge"].methods:
        fields = method.input_type.fields_by_name
        assert (tenancy.of(fields) is not None) is (tenancy.FIELD in fields)
