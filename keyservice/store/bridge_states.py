"""How the table of API keys says where a key is on its way to the bridge.

A row waits for the bridge while its state is PENDING or REMOVING, and is due once its ``next_attempt_at`` is past;
NULL there means that nobody asks by himself. A claim moves that time on, so that nobody else asks meanwhile and a
claim whose holder died is taken over. It also clears the reason: a row that waits without one is under way.
"""

from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, and_, func, literal_column

from keyservice import models
from keyservice.enums import BridgeState
from keyservice.store.leases import due

_table = models.ExchangeApiKey
CLOCK = func.clock_timestamp()
# Written out, as the partial indexes have it: a parameter would hide from PostgreSQL that they serve.
WAITS: Final[ColumnElement[bool]] = literal_column(
    "exchange_api_keys.bridge_state IN ('pending', 'removing')", Boolean
)
CONFIGURED: Final[ColumnElement[bool]] = literal_column(
    "exchange_api_keys.bridge_state = 'configured'", Boolean
)
# Whoever makes it due anew counts from nothing, and so ends the claim of whoever is at work on it.
CLAIMED = and_(WAITS, _table.bridge_reason.is_(None), _table.attempt_count > 0)
UNDER_WAY = and_(CLAIMED, _table.next_attempt_at > CLOCK)
WANTED = and_(~_table.is_deleted, ~_table.disabled)
# What nobody has acknowledged, and is to be taken to the bridge now.
AFRESH: Final[dict[str, Any]] = {
    "bridge_state": BridgeState.PENDING,
    "bridge_reason": None,
    "configured_at": None,
    "configured_instance": None,
    **due(),
}
# Neither an attempt nor its outcome is a change of the key.
UNCHANGED = {"updated_at": _table.updated_at}
