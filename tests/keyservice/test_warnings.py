"""The sentences of warnings."""

from datetime import UTC, datetime, timedelta

import pytest

from keyservice import warnings
from keyservice.enums import BridgeReason, ReadStatus

NOON = datetime(2031, 5, 6, 12, 0, 5, tzinfo=UTC)
TRANSIENT = {
    BridgeReason.BRIDGE_TIMEOUT,
    BridgeReason.BRIDGE_UNAVAILABLE,
    BridgeReason.EXCHANGE_UNAVAILABLE,
    BridgeReason.RATE_LIMITED,
    BridgeReason.BRIDGE_ERROR,
}


def test_a_bridge_that_was_late_is_told_as_the_design_has_it() -> None:
    assert warnings.not_configured(
        BridgeReason.BRIDGE_TIMEOUT, retry_at=NOON, waited=timedelta(seconds=3)
    ) == (
        "Trading Bridge connector initialization failed: no answer within 3 seconds (BRIDGE_TIMEOUT). "
        "The key is saved and will be retried at 12:00:05 UTC; use ReinitializeApiKey to retry now."
    )


@pytest.mark.parametrize("reason", BridgeReason)
def test_every_reason_is_named_with_what_to_do(reason: BridgeReason) -> None:
    sentence = warnings.not_configured(reason, retry_at=NOON)
    assert f"({reason.name})" in sentence
    assert "The key is saved" in sentence
    assert "ApiKey" in sentence
    # What does not help by itself is not promised to be tried again.
    assert ("12:00:05 UTC" in sentence) == (reason in TRANSIENT)


@pytest.mark.parametrize("reason", BridgeReason)
def test_a_removal_that_failed_says_that_the_bridge_may_still_hold_the_key_and_what_ends_its_use(
    reason: BridgeReason,
) -> None:
    sentence = warnings.not_removed(reason, retry_at=NOON)
    assert f"({reason.name})" in sentence
    assert "may still hold the key" in sentence
    assert "revoke it on the exchange" in sentence
    assert "12:00:05 UTC" in sentence


def test_a_key_that_the_bridge_does_not_hold_is_promised_nothing_and_told_what_to_do() -> None:
    """It is pushed again by itself only where the row is still to be decided."""
    assert warnings.not_read(ReadStatus.NOT_FOUND) == (
        "Balances could not be read: the Trading Bridge does not hold the key (NOT_FOUND). "
        "The key is saved; use ReinitializeApiKey to push it now."
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "3 seconds"), (2.55, "2.5 seconds"), (1, "1 second"), (0.25, "250 milliseconds")],
)
def test_a_wait_is_told_as_a_person_would(seconds: float, words: str) -> None:
    assert f"no answer within {words} " in warnings.what(
        BridgeReason.BRIDGE_TIMEOUT, timedelta(seconds=seconds)
    )
