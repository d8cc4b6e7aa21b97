"""The sentences that tell a caller why the bridge does not match a key, and what to do: our words, never an exchange's.

One builder for all answers: of changes, of lists and of balances.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from keyservice.enums import BridgeReason, ReadStatus

NOT_ASKED: Final = "The key is saved. The Trading Bridge has not been asked to hold it yet."
UNDER_WAY: Final = "The key is saved. The Trading Bridge is being asked to hold it, and has not answered yet."

_WHAT: Mapping[BridgeReason, str] = {
    BridgeReason.BRIDGE_TIMEOUT: "no answer in time",
    BridgeReason.BRIDGE_UNAVAILABLE: "the Trading Bridge cannot be reached",
    BridgeReason.CREDENTIALS_REJECTED: "the exchange refuses the credentials",
    BridgeReason.CREDENTIALS_INCOMPLETE: "the exchange needs a credential that the key does not have",
    BridgeReason.EXCHANGE_UNSUPPORTED: "the exchange is not served any more, or does not offer this",
    BridgeReason.EXCHANGE_UNAVAILABLE: "the exchange does not answer",
    BridgeReason.RATE_LIMITED: "the exchange asks to wait",
    BridgeReason.KEY_UNREADABLE: "the stored credentials can't be opened",
    BridgeReason.BRIDGE_ERROR: "the Trading Bridge refused",
}
# What helps where trying again by itself would not.
_WHAT_TO_DO: Mapping[BridgeReason, str] = {
    BridgeReason.CREDENTIALS_REJECTED: "check its permissions and its allow-list on the exchange and use"
    " ReinitializeApiKey, or give it new credentials with RotateApiKey",
    BridgeReason.CREDENTIALS_INCOMPLETE: "give it all credentials with RotateApiKey",
    BridgeReason.EXCHANGE_UNSUPPORTED: "use ReinitializeApiKey once the exchange is served again, or delete it"
    " with DeleteApiKey",
    BridgeReason.KEY_UNREADABLE: "give it new credentials with RotateApiKey",
}

# What is due has its turn within moments, unless there is nobody to ask.
_A_WHILE: Final = timedelta(seconds=10)
_AGAIN: Final = "Call again in a moment."
# What may be wrong with a key that the bridge was asked about, and what to do.
_NOT_READ: Mapping[ReadStatus, tuple[str, str]] = {
    ReadStatus.NOT_FOUND: (
        "the Trading Bridge does not hold the key",
        "The key is saved; use ReinitializeApiKey to push it now.",
    ),
    ReadStatus.CREDENTIALS_REJECTED: (
        _WHAT[BridgeReason.CREDENTIALS_REJECTED],
        "Check the key's permissions and its allow-list on the exchange, or give it new credentials with RotateApiKey.",
    ),
    ReadStatus.RATE_LIMITED: (
        _WHAT[BridgeReason.RATE_LIMITED],
        "Call again later, or allow an answer from memory with max_age.",
    ),
    ReadStatus.EXCHANGE_UNAVAILABLE: (_WHAT[BridgeReason.EXCHANGE_UNAVAILABLE], _AGAIN),
    ReadStatus.EXCHANGE_UNSUPPORTED: (
        _WHAT[BridgeReason.EXCHANGE_UNSUPPORTED],
        "The key is kept; nothing can be read with it.",
    ),
    ReadStatus.TIMEOUT: ("the exchange did not answer in time", _AGAIN),
    ReadStatus.ERROR: ("the exchange or the Trading Bridge refused", "The log of the bridge says more."),
    ReadStatus.BRIDGE_TIMEOUT: ("the Trading Bridge did not answer in time", f"The key is saved. {_AGAIN}"),
    ReadStatus.BRIDGE_UNAVAILABLE: (
        _WHAT[BridgeReason.BRIDGE_UNAVAILABLE],
        "The key is saved. Call again once GetBridgeHealth says that it is reachable.",
    ),
}


def not_configured(
    reason: BridgeReason, *, retry_at: datetime | None = None, waited: timedelta | None = None
) -> str:
    """Why a live key is not on the bridge. ``waited`` is how long the bridge was given, where that is known."""
    if reason in _WHAT_TO_DO:
        then = f"The key is saved; {_WHAT_TO_DO[reason]}."
    else:
        then = (
            f"The key is saved and will be retried{_at(retry_at)}; use ReinitializeApiKey to retry now."
            if retry_at
            else "The key is saved; use ReinitializeApiKey to retry now."
        )
    return f"Trading Bridge connector initialization failed: {what(reason, waited)}. {then}"


def not_removed(
    reason: BridgeReason, *, retry_at: datetime | None = None, waited: timedelta | None = None
) -> str:
    """Why a key that is deleted or disabled may still be on the bridge."""
    then = f"It will be retried{_at(retry_at)}." if retry_at else "Nobody retries it by himself."
    return (
        f"Trading Bridge connector removal failed: {what(reason, waited)}. "
        "Until it succeeds, the bridge may still hold the key; if it must not be used, revoke it on the exchange. "
        f"{then}"
    )


def not_read(status: ReadStatus) -> str:
    """Why the balances of a key that is meant to be on the bridge are not known."""
    words, then = _NOT_READ[status]
    return f"Balances could not be read: {words} ({status.name}). {then}"


def bridge_not_reachable(reason: BridgeReason) -> str:
    """What to say of the bridge as such."""
    return (
        f"The Trading Bridge does not answer: {what(reason)}. Keys are kept and taken to it once it is back; "
        "see that it runs and that KEYSERVICE_BRIDGE_TARGET names it."
    )


def keys_failed(number: int) -> str:
    """What to say of keys that no retry helps."""
    return f"Keys that need someone to act: {number}; ListApiKeys with the state FAILED names them."


def what(reason: BridgeReason, waited: timedelta | None = None) -> str:
    """What happened, with its name, as a part of a sentence."""
    words = _WHAT[reason]
    if reason is BridgeReason.BRIDGE_TIMEOUT and waited is not None:
        words = f"no answer within {_span(waited)}"
    return f"{words} ({reason.name})"


def _span(waited: timedelta) -> str:
    seconds = max(waited.total_seconds(), 0.001)
    if seconds < 1:
        return f"{seconds * 1000:.0f} milliseconds"
    figure = f"{seconds:.1f}".removesuffix(".0")
    return "1 second" if figure == "1" else f"{figure} seconds"


def _at(moment: datetime | None) -> str:
    if moment is None:
        return ""
    if moment < datetime.now(UTC) - _A_WHILE:
        return " as soon as the Trading Bridge can be asked"
    return f" at {moment.astimezone(UTC):%H:%M:%S} UTC"
