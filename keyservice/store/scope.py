"""Tenancy, in the query: a row outside the caller's clients is not found, exactly like one that does not exist."""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, true
from sqlalchemy.orm import InstrumentedAttribute

from keyservice.records import Caller

# Required: a statement that is executed without its caller's clients fails.
_CLIENTS = bindparam("visible_clients", type_=ARRAY(Uuid), required=True)


def visible(
    client_id: InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None], *, limited: bool
) -> ColumnElement[bool]:
    """The condition that a row belongs to one of the clients of a caller who is ``limited`` to some.

    The statement stays the same for all of them, so that it can be made once; ``parameters`` says whose it is.
    """
    return client_id == any_(_CLIENTS) if limited else true()


def parameters(caller: Caller) -> dict[str, Any]:
    """The clients that the caller may see, as a parameter of the statement."""
    return {} if caller.clients is None else {_CLIENTS.key: list(caller.clients)}
