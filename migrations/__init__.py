"""The one history of both services' tables. ``servicekit.database.migrate`` runs it; ``make migration``
drafts."""
