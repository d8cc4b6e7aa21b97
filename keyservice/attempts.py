"""Attempts at the bridge as operators see them: a line for each that failed or was not made, and a counter by outcome
and reason.
"""

from prometheus_client import CollectorRegistry, Counter

from keyservice.bridge_records import Outcome
from keyservice.records import ApiKey
from servicekit import logs

_log = logs.get(__name__)


class Attempts:
    """Counts them, and says which failed. Never with anything of a key but its id and its exchange."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "keyservice_bridge_attempts",
            "Pushes to the bridge and removals from it, by how they ended, or that they were not sent.",
            ["action", "outcome", "reason"],
            registry=registry,
        )

    def note(self, key: ApiKey, outcome: Outcome) -> None:
        """One attempt; or that none was made, as while the bridge is known to be away: which says nothing of
        how attempts fare.
        """
        action = "push" if key.wanted else "remove"
        reason = outcome.reason.name if outcome.reason else ""
        self._counter.labels(action, _ended(outcome), reason).inc()
        if outcome.ok:
            return
        _log.warning(
            "the bridge does not match a key yet"
            if outcome.asked
            else "the bridge was not asked to match a key",
            action=action,
            api_key_id=str(key.id),
            exchange=key.exchange,
            reason=reason,
            code=outcome.code,
            attempt=key.attempt_count,
        )


def _ended(outcome: Outcome) -> str:
    if outcome.ok:
        return "success"
    return "failure" if outcome.asked else "not_sent"
