"""A token of one's own that goes along with every call, from a file that somebody renews before it expires."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from servicekit.followed import LOOK_EVERY, Followed
from servicekit.rpc.client import Metadata


def bearer(token_file: Path, look_every: timedelta = LOOK_EVERY) -> Callable[[], Metadata]:
    """What ``connect`` takes as metadata."""
    token = Followed(token_file, _read, name="token file", look_every=look_every)
    return lambda: (("authorization", f"Bearer {token.current()}"),)


def _read(text: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("it should hold one token and nothing else")
    return token
