"""Tokens that are no longer good, though they were signed and have not expired: a JSON file.

{"tokens": ["the jti of one"], "issued_before": {"the sub of all": "2026-11-28T12:00:00Z"}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class DenyList:
    """Which tokens are denied: single ones, and all that somebody was given before some moment."""

    tokens: frozenset[str] = frozenset()
    issued_before: Mapping[str, datetime] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> "DenyList":
        """What the file says; a ValueError where that is not clear, so that no denial is lost by a misspelling."""
        found = json.loads(text)
        if not isinstance(found, dict) or found.keys() - {"tokens", "issued_before"}:
            raise ValueError('it should be a JSON object with "tokens" and "issued_before", and nothing else')
        tokens, issued_before = found.get("tokens", []), found.get("issued_before", {})
        if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens):
            raise ValueError('"tokens" should be a list of token ids (jti)')
        if isinstance(issued_before, dict):
            return cls(frozenset(tokens), {sub: _moment(given) for sub, given in issued_before.items()})
        raise ValueError('"issued_before" should have a time for each subject (sub)')

    def denies(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these claims is denied. One that does not say when it was issued is as old as can be."""
        if claims.get("jti") in self.tokens:
            return True
        before = self.issued_before.get(claims["sub"])
        return before is not None and float(claims.get("iat", 0)) < before.timestamp()

    def with_token(self, token_id: str) -> "DenyList":
        return replace(self, tokens=self.tokens | {token_id})

    def with_subject(self, subject: str, before: datetime) -> "DenyList":
        """Deny what was issued before; where more is denied already, it stays so."""
        latest = max(before, self.issued_before.get(subject, before))
        return replace(self, issued_before={**self.issued_before, subject: latest})

    def text(self) -> str:
        """As ``read`` takes it."""
        moments = {
            subject: before.astimezone(UTC).isoformat().replace("+00:00", "Z")
            for subject, before in sorted(self.issued_before.items())
        }
        return json.dumps({"tokens": sorted(self.tokens), "issued_before": moments}, indent=2) + "\n"


def _moment(given: object) -> datetime:
    found = datetime.fromisoformat(given) if isinstance(given, str) else None
    if found is None or found.tzinfo is None:
        raise ValueError('a time of "issued_before" should be like 2026-11-28T12:00:00Z')
    return found
