"""What is said with options of the command, beyond what its parser knows."""

from datetime import timedelta

from servicekit.errors import SettingsError
from servicekit.values import parse_duration


def duration(option: str, text: str) -> timedelta:
    """As settings are written: 15m, 1h or 30d; longer than nothing."""
    try:
        parsed = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{option} {error}, not {text!r}") from None
    if not isinstance(parsed, timedelta) or parsed <= timedelta(0):
        raise SettingsError(f"{option} should be longer than nothing, not {text!r}")
    return parsed
