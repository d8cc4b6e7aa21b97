"""By what two rows are known to hold the same API key of a client: one rule, for custody and for adoption."""

from typing import Final

from keyservice.credentials import Credentials
from keyservice.keyring import Keyring

PAPER: Final = "paper"


def fingerprint_of(keyring: Keyring, exchange: str, credentials: Credentials) -> bytes | None:
    """The fingerprint that a key's row gets; None where it is not to be told from others.

    Paper keys are all alike: a client may have as many as it has labels.
    """
    identity = None if exchange == PAPER else credentials.identity()
    return None if identity is None else keyring.fingerprint(exchange, identity)
