"""Which release of keybridge this is."""

from importlib import metadata

NOT_INSTALLED = "0+source"
"""Run from a source tree that nobody has installed."""


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("keybridge")
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
