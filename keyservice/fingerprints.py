"""By what two rows are known to hold the same API key of a client: one rule, for custody and for adoption."""

from typing import Final

from keyservice.credentials import identity
from keyservice.keyring import Keyring
from servicekit.credentials import Credentials

PAPER: Final = "paper"


def fingerprint_of(keyring: Keyring, exchange: str, credentials: Credentials) -> bytes | None:
    """The fingerprint that a key's row gets; None where it is not to be told from others.

    Paper keys are all alike: a client may have as many as it has labels.
    """
    known_by = None if exchange == PAPER else identity(credentials)
    return None if known_by is None else keyring.fingerprint(exchange, known_by)
