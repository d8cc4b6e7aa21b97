"""What is taken to the bridge, and how whoever waits for it hears of it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from keyservice import warnings
from keyservice.bridge_records import Outcome
from keyservice.enums import BridgeReason
from keyservice.records import ApiKey, Caller
from keyservice.store.due_claims import CONVERGENCE
from keyservice.store.seals import Seals
from servicekit.credentials import Credentials

Within: TypeAlias = float | None
"""How many seconds a caller has left; None when there is no end."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A key after an attempt at the bridge."""

    key: ApiKey
    waited: timedelta | None = None
    """How long the bridge was given, if it was asked."""

    @property
    def warning(self) -> str:
        """Why the bridge does not hold the key; who has waited for it himself hears how long."""
        key = self.key
        late = key.bridge_reason is BridgeReason.BRIDGE_TIMEOUT and key.wanted
        if self.waited is None or not late:
            return key.why_not_configured
        return warnings.not_configured(
            BridgeReason.BRIDGE_TIMEOUT, retry_at=key.next_attempt_at, waited=self.waited
        )


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be taken to the bridge: a key whose claim one has, with what is known of its credentials."""

    key: ApiKey
    seals: Seals | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    """As the caller gave them, so that nothing has to be opened."""
    verify: bool = False
    caller: Caller = CONVERGENCE
    """On whose behalf."""
    urgent: bool = True
    """Whether somebody waits for it."""
    absence: Outcome | None = None
    """Where the bridge was known to be away when the key was claimed, so that nothing of it was released."""
