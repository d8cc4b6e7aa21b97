"""Attempts at the bridge as operators see them: a line for each that failed, and a counter by outcome and reason."""

from prometheus_client import CollectorRegistry, Counter

from keyservice.bridge_records import Outcome
from keyservice.records import ApiKey
from servicekit import logs

_log = logs.get(__name__)


class Attempts:
    """Counts them, and says which failed. Never with anything of a key but its id."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "keyservice_bridge_attempts",
            "Pushes to the bridge and removals from it, by how they ended.",
            ["action", "outcome", "reason"],
            registry=registry,
        )

    def note(self, key: ApiKey, outcome: Outcome) -> None:
        """One attempt, also one that was not made because the bridge is known to be away."""
        action = "push" if key.wanted else "remove"
        reason = outcome.reason.name if outcome.reason else ""
        self._counter.labels(action, "success" if outcome.ok else "failure", reason).inc()
        if outcome.ok:
            return
        _log.warning(
            "the bridge does not match a key yet",
            action=action,
            api_key_id=str(key.id),
            exchange=key.exchange,
            reason=reason,
            code=outcome.code,
            attempt=key.attempt_count,
        )
