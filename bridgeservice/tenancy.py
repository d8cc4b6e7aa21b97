"""Whose an account is: KeyService calls the account of a client ``client_`` and its id.

A caller who is limited to some clients may name the accounts of these only. Any other name, whether there is such an
account or not, is refused before anything is looked up, in the words that are used of an account that is not there.
"""

from collections.abc import Callable, Container
from typing import Any, Final

from bridgeservice.accounts import no_such_account
from bridgeservice.validation import account_name
from servicekit.rpc.call import Call
from servicekit.rpc.principal import Principal
from servicekit.validation import parse_id

FIELD: Final = "account_name"
"""The field by which a request says which account it is about, in every method that is about one."""

_PREFIX: Final = "client_"


def of(fields: Container[str]) -> Callable[[Any, Call], None] | None:
    """What refuses another tenant's account, for every method whose request has a field for one."""
    return _refuse_foreign if FIELD in fields else None


def accounts_of(call: Call) -> list[str] | None:
    """The names of all accounts that the caller may see; None where it may see every one."""
    clients = call.principal.clients if call.principal else None
    return None if clients is None else [f"{_PREFIX}{client_id}" for client_id in clients]


def _refuse_foreign(request: Any, call: Call) -> None:
    if call.principal is None or call.principal.clients is None:
        return
    # Also that a name is there: without one, a method may be about every account.
    name = account_name(getattr(request, FIELD))
    if not _owns(call.principal, name):
        raise no_such_account(name)


def _owns(principal: Principal, name: str) -> bool:
    client_id = parse_id(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else None
    # An id has one spelling in the name of an account; with another one it would be another account.
    return client_id in (principal.clients or ()) and name == f"{_PREFIX}{client_id}"
