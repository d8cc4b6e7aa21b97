"""Who may call what, what is a secret, and what is only a read: each as the contract states it."""

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from bridgeservice.v1 import credentials_pb2, trading_bridge_pb2
from keyservice.v1 import key_service_pb2
from servicekit.v1 import policy_pb2

SERVICES = (
    key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
    trading_bridge_pb2.DESCRIPTOR.services_by_name["TradingBridge"],
)
METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method for service in SERVICES for method in service.methods
}

# Who may call each method: a change of policy is made here too, so that nobody makes it by accident.
ROLES = {
    "KeyService": {
        "reader": """GetClient ListClients GetApiKey ListApiKeys WatchApiKeys GetBalances GetBridgeHealth""",
        "operator": """CreateClient UpdateClient DeleteClient UndeleteClient AddApiKey RotateApiKey
            ReinitializeApiKey ReinitializeApiKeys UpdateApiKey DeleteApiKey UndeleteApiKey VerifyApiKey
            ListAuditEvents""",
    },
    "TradingBridge": {
        "reader": """GetRiskRules GetOrder ListOrders ListTrades ListPositions GetTicker ListTickers GetOrderBook
            ListCandles ListMarkets GetPortfolioHistory""",
        "reader bridge_writer": """GetBridgeInfo ListExchanges GetAccount GetConnector ListConnectors
            GetPortfolio""",
        "trader": """PlaceOrder CancelOrder CancelAllOrders""",
        "operator bridge_writer": """CreateAccount DeleteAccount VerifyConnector""",
        "admin": """ListAccounts SetRiskRules EngageKillSwitch ReleaseKillSwitch""",
        "bridge_writer": """AddConnector RemoveConnector""",
    },
}

# Names that a secret may have, in this contract or in one that someone writes next year.
SECRET_LOOKING = re.compile(
    r"(^|_)(secrets?|passphrase|password|private_key|seed|twofa|extra|token|credential)$"
)
# Names that look like one and are none.
NOT_SECRET = {"page_token", "next_page_token"}


def _reached(message: Descriptor, seen: set[str] | None = None) -> Iterator[FieldDescriptor]:
    """Every field that a message can carry, at any depth."""
    seen = set() if seen is None else seen
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from _reached(field.message_type, seen)


def _is_secret(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[policy_pb2.secret])  # type: ignore[index]  # as for _roles


def _roles(method: MethodDescriptor) -> set[str]:
    # protoc's stubs do not say what an extension extends, which is what the index is checked against.
    stated: list[policy_pb2.Role] = list(method.GetOptions().Extensions[policy_pb2.allowed_roles])  # type: ignore[index]
    return {policy_pb2.Role.Name(role) for role in stated}


def _looks_secret(field: FieldDescriptor) -> bool:
    if field.name in NOT_SECRET:
        return False
    # `api_key` is a secret where it is text; as a message it is the resource ApiKey, which holds none.
    is_key_text = field.name == "api_key" and field.message_type is None
    return is_key_text or SECRET_LOOKING.search(field.name) is not None


def test_every_method_names_the_roles_that_may_call_it() -> None:
    stated = {name: _roles(method) for name, method in METHODS.items()}
    expected = {
        f"{service}.{method}": {f"ROLE_{role.upper()}" for role in roles.split()}
        for service, table in ROLES.items()
        for roles, methods in table.items()
        for method in methods.split()
    }
    assert stated == expected


def test_reads_and_nothing_else_are_marked_as_safe_to_repeat() -> None:
    marked = {
        name
        for name, method in METHODS.items()
        if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    }
    assert marked == {name for name in METHODS if re.search(r"\.(Get|List|Watch)", name)}


@pytest.mark.parametrize("name", METHODS)
def test_no_answer_can_carry_a_secret(name: str) -> None:
    leaks = [
        field.full_name
        for field in _reached(METHODS[name].output_type)
        if _is_secret(field) or _looks_secret(field)
    ]
    assert leaks == []


def test_all_fields_of_the_credentials_are_secret_and_redacted() -> None:
    credentials: Descriptor = credentials_pb2.DESCRIPTOR.message_types_by_name["Credentials"]
    fields = credentials.fields
    assert [field.name for field in fields] == ["api_key", "api_secret", "passphrase", "extra"]
    assert all(_is_secret(field) and field.GetOptions().debug_redact for field in fields)


def test_whatever_looks_like_a_secret_in_a_request_is_marked_as_one() -> None:
    requests = {field.full_name: field for m in METHODS.values() for field in _reached(m.input_type)}
    looking = {name for name, field in requests.items() if _looks_secret(field)}
    marked = {name for name, field in requests.items() if _is_secret(field)}
    assert looking == marked
    assert marked == {
        f"bridgeservice.v1.Credentials.{name}" for name in ("api_key", "api_secret", "passphrase", "extra")
    }


def test_only_the_methods_that_take_credentials_can_carry_a_secret() -> None:
    carrying = {name for name, m in METHODS.items() if any(_is_secret(f) for f in _reached(m.input_type))}
    assert carrying == {"KeyService.AddApiKey", "KeyService.RotateApiKey", "TradingBridge.AddConnector"}
