"""The services that the tests of this folder share."""

from tests.services.authorisation.guarded import guarded

__all__ = ["guarded"]
