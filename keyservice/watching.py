"""Whoever wants to know that keys have changed: WatchApiKeys, in this replica and in others."""

from uuid import UUID


class Watching:
    """Tells watchers which keys have changed."""

    def tell(self, *key_ids: UUID) -> None:
        """These have."""
