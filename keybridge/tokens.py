"""``keybridge token``: tokens for callers, made and denied."""

import getpass
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keybridge import revocation
from keybridge.home import home_directory
from keybridge.identities import Identities
from keybridge.options import duration
from keybridge.signing import Order, SigningKey
from servicekit.errors import SettingsError
from servicekit.rpc.deny_list import DenyList
from servicekit.rpc.grants import ALL

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token as somebody asks for it."""

    role: str
    clients: Sequence[str]
    lasts: str
    subject: str | None
    audience: Sequence[str]
    issuer: str


async def mint(environ: Mapping[str, str], say: Say, key_file: Path | None, wanted: Wanted) -> None:
    """Print a token, alone, so that it can be caught; what else there is to say of it goes to standard error."""
    order = Order(
        subject=wanted.subject or _user(),
        role=wanted.role,
        clients=None if ALL in wanted.clients else wanted.clients,
        audience=wanted.audience,
        issuer=wanted.issuer,
        lasts=duration("--ttl", wanted.lasts),
    )
    if ALL in wanted.clients and len(wanted.clients) > 1:
        raise SettingsError(
            f"--client {ALL} stands for all clients, so that no other one can be named beside it."
        )
    minted = _key(environ, key_file).mint(order, datetime.now(UTC))
    say(minted.token)
    sys.stderr.write(
        f"token {minted.token_id} for {order.subject}, {order.role}, until {minted.expires:%Y-%m-%d %H:%M:%S} UTC\n"
    )


async def revoke_token(environ: Mapping[str, str], say: Say, deny_list: Path | None, token_id: str) -> None:
    """Deny one token."""
    what = f"The token {token_id} is denied"
    _deny(environ, say, deny_list, what, lambda denied: denied.with_token(token_id))


async def revoke_subject(
    environ: Mapping[str, str], say: Say, deny_list: Path | None, subject: str, before: datetime | None
) -> None:
    """Deny all tokens that somebody was given before some moment. Times of issue are whole seconds, so that now means
    the end of this one.
    """
    moment = before or datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    what = f"Tokens of {subject} issued before {moment:%Y-%m-%d %H:%M:%S} UTC are denied"
    _deny(environ, say, deny_list, what, lambda denied: denied.with_subject(subject, moment))


async def jwks(environ: Mapping[str, str], say: Say, key_file: Path | None) -> None:
    """Print what services need to check the tokens of a signing key."""
    say(_key(environ, key_file).jwks.rstrip("\n"))


def _deny(
    environ: Mapping[str, str],
    say: Say,
    named: Path | None,
    what: str,
    how: Callable[[DenyList], DenyList],
) -> None:
    """Change the list that was named, or else that of each service; and say by which it is denied, and where not."""
    lists = {"--deny-list": named} if named else _own(environ).deny_lists
    files = list(dict.fromkeys(file for file in lists.values() if file))
    if not files:
        raise SettingsError(
            f"No service is told of a deny-list: set {' and '.join(lists)}, or name its file with --deny-list."
        )
    for file in files:
        revocation.change(file, how)
    say(f"{what}, by {' and '.join(map(str, files))}.")
    for variable in (name for name, file in lists.items() if not file):
        say(f"{variable} is not set: if that service takes tokens, it still takes these.")


def _key(environ: Mapping[str, str], key_file: Path | None) -> SigningKey:
    if key_file is not None:
        return SigningKey.load(key_file)
    own = _own(environ).signing_key_file
    if not own.exists():
        raise SettingsError(
            f"There is no signing key at {own}: keybridge up makes one; or name yours with --key-file."
        )
    return SigningKey.load(own)


def _own(environ: Mapping[str, str]) -> Identities:
    return Identities(home_directory(environ), environ)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise SettingsError(
            "The system has no name for you: say with --subject whom the token is for."
        ) from None
