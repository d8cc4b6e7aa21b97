"""A private PostgreSQL for development, tests and the all-in-one, which belongs to a home directory.

``cluster`` counts its users, starts and stops it; ``locks`` are what they are counted with; ``binaries``
finds the programs; ``account`` decides who runs them and makes the directories; ``postmaster`` knows the
server process; ``wire`` asks it whether it lives.
"""

from servicekit.embedded_postgres.cluster import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
